import { describe, expect, test } from 'vitest';
import { decodeFdt, type FdtNode } from '../../../builder/formats/fdt.ts';
import { deviceTreeOverlay } from '../../../builder/image/device-tree-overlay.ts';

const text = (value: string) => new Uint8Array(Buffer.from(`${value}\0`));

function board(pins: Readonly<Record<string, string>>, others: readonly string[] = []): FdtNode {
  const node = (
    name: string,
    properties: Readonly<Record<string, string>>,
    children: FdtNode[],
  ): FdtNode => ({
    name,
    properties: new Map(Object.entries(properties).map(([key, value]) => [key, text(value)])),
    children,
  });
  return node('', { compatible: 'brcm,bcm2712' }, [
    node('soc', {}, [node('pins@7d5', pins, []), ...others.map((name) => node(name, {}, []))]),
  ]);
}

describe('deviceTreeOverlay', () => {
  test('sets what differs and what is new, and nothing else', () => {
    const overlay = deviceTreeOverlay(
      board({ reg: 'a', same: 's' }),
      board({ reg: 'b', same: 's', more: 'm' }),
    );
    expect(decodeFdt(overlay)).toEqual({
      name: '',
      properties: new Map([['compatible', text('brcm,bcm2712')]]),
      children: [
        {
          name: 'fragment@0',
          properties: new Map([['target-path', text('/soc/pins@7d5')]]),
          children: [
            {
              name: '__overlay__',
              properties: new Map([
                ['reg', text('b')],
                ['more', text('m')],
              ]),
              children: [],
            },
          ],
        },
      ],
    });
  });

  test('has no fragment for equal device trees', () => {
    expect(decodeFdt(deviceTreeOverlay(board({}), board({}))).children).toEqual([]);
  });

  test('refuses what an overlay cannot do, naming it', () => {
    expect(() => deviceTreeOverlay(board({ reg: 'a' }), board({}))).toThrow(
      'No overlay takes the property reg from /soc/pins@7d5',
    );
    expect(() => deviceTreeOverlay(board({}), board({}, ['uart']))).toThrow(
      'The nodes below /soc are not the same',
    );
  });
});
