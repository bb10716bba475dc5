import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeFdt, encodeFdt, type FdtNode, maxFdtBytes, stringList } from '../../../builder/formats/fdt.ts';

const text = (value: string) => new Uint8Array(Buffer.from(`${value}\0`));

const board: FdtNode = {
  name: '',
  properties: new Map([
    ['compatible', new Uint8Array(Buffer.from('raspberrypi,3-model-b\0brcm,bcm2837\0'))],
    ['empty', new Uint8Array()],
  ]),
  children: [
    { name: 'soc', properties: new Map([['compatible', text('simple-bus')]]), children: [] },
    { name: 'leds', properties: new Map(), children: [] },
  ],
};

const nodes = fc.letrec<{ node: FdtNode }>((tie) => ({
  node: fc.record({
    name: fc.stringMatching(/^[a-z0-9,@-]{0,31}$/),
    properties: fc
      .dictionary(fc.stringMatching(/^[a-z#,-]{1,31}$/), fc.uint8Array({ maxLength: 20 }))
      .map((record) => new Map(Object.entries(record))),
    children: fc.oneof({ maxDepth: 4 }, fc.constant([]), fc.array(tie('node'), { maxLength: 3 })),
  }),
})).node;

describe('decodeFdt', () => {
  test('reads what encodeFdt wrote', () => {
    fc.assert(
      fc.property(nodes, (node) => {
        expect(decodeFdt(encodeFdt(node))).toEqual(node);
      }),
    );
  });

  test('refuses a device tree that is cut off anywhere', () => {
    const bytes = encodeFdt(board);
    for (let end = 0; end < bytes.length; end += 1) {
      expect(() => decodeFdt(bytes.subarray(0, end))).toThrow('no device tree');
    }
  });

  test('ends, with a tree or a refusal, whatever byte is changed', () => {
    const bytes = encodeFdt(board);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (offset, value) => {
        const changed = Uint8Array.from(bytes);
        changed[offset] = value;
        try {
          decodeFdt(changed);
        } catch (error) {
          expect(error).toMatchObject({ name: 'ProtocolError' });
        }
      }),
    );
  });

  test('refuses one that is too large or too deep', () => {
    expect(() => decodeFdt(new Uint8Array(maxFdtBytes + 1))).toThrow(`more than ${maxFdtBytes} bytes`);
    let deep: FdtNode = { name: 'end', properties: new Map(), children: [] };
    for (let level = 0; level < 70; level += 1) {
      deep = { name: 'level', properties: new Map(), children: [deep] };
    }
    expect(() => decodeFdt(encodeFdt(deep))).toThrow('levels deep');
  });
});

describe('stringList', () => {
  test('gives each text, and none for an empty property or one that is not there', () => {
    expect(stringList(board.properties.get('compatible'))).toEqual(['raspberrypi,3-model-b', 'brcm,bcm2837']);
    expect(stringList(new Uint8Array())).toEqual([]);
    expect(stringList(undefined)).toEqual([]);
  });
});
