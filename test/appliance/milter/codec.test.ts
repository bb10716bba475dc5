import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import {
  type Command,
  decodeCommand,
  decodeReply,
  encodeCommand,
  encodeReply,
  type Reply,
} from '../../../appliance/milter/codec.ts';
import { maxPacketBytes, type Packet, PacketDecoder } from '../../../appliance/milter/packet.ts';

const latin1 = (text: string) => Buffer.from(text, 'latin1');

/** Packets as Postfix 3.10 sends them, in hex, and what they mean. */
const commands: readonly (readonly [string, Command])[] = [
  [
    '0000000d 4f 00000006 000001ff 001fffff',
    { kind: 'negotiate', version: 6, actions: 0x1ff, protocol: 0x1fffff },
  ],
  [
    '0000001c 44 43 6a00 6368617400 7b6461656d6f6e5f6e616d657d00 6368617400',
    {
      kind: 'macros',
      stage: 'C',
      macros: new Map([
        ['j', 'chat'],
        ['daemon_name', 'chat'],
      ]),
    },
  ],
  [
    '0000001a 43 5b3139322e302e322e315d00 34 d431 3139322e302e322e3100',
    { kind: 'connect', host: '[192.0.2.1]', family: 'inet', port: 54321, address: '192.0.2.1' },
  ],
  [
    '0000001f 43 6c6f63616c686f737400 36 0019 495076363a323030313a6462383a3a3100',
    { kind: 'connect', host: 'localhost', family: 'inet6', port: 25, address: 'IPv6:2001:db8::1' },
  ],
  ['00000004 43 610055', { kind: 'connect', host: 'a', family: 'unknown' }],
  ['00000006 48 6d61696c00', { kind: 'helo', name: 'mail' }],
  [
    '00000015 4d 3c6140623e00 424f44593d384249544d494d4500',
    { kind: 'mail', address: '<a@b>', args: ['BODY=8BITMIME'] },
  ],
  ['00000002 4d 00', { kind: 'mail', address: '', args: [] }],
  ['00000007 52 3c6140623e00', { kind: 'rcpt', address: '<a@b>', args: [] }],
  ['00000001 54', { kind: 'data' }],
  ['0000000d 4c 5375626a65637400 20686900', { kind: 'header', name: 'Subject', value: ' hi' }],
  ['00000001 4e', { kind: 'endOfHeaders' }],
  ['00000006 42 68690d0a00', { kind: 'body', chunk: latin1('hi\r\n\0') }],
  ['00000001 45', { kind: 'endOfBody', chunk: Buffer.alloc(0) }],
  ['00000001 41', { kind: 'abort' }],
  ['00000001 51', { kind: 'quit' }],
  ['00000001 4b', { kind: 'quitNewConnection' }],
  ['00000006 55 4e4f4f5000', { kind: 'unknown', line: 'NOOP' }],
];

const replies: readonly (readonly [string, Reply])[] = [
  [
    '0000000d 4f 00000006 00000051 001fffff',
    { kind: 'negotiate', version: 6, actions: 0x51, protocol: 0x1fffff },
  ],
  ['00000001 61', { kind: 'accept' }],
  ['00000001 63', { kind: 'continue' }],
  ['00000001 64', { kind: 'discard' }],
  ['00000001 72', { kind: 'reject' }],
  ['00000001 74', { kind: 'tempfail' }],
  ['00000001 73', { kind: 'skip' }],
  ['00000001 70', { kind: 'progress' }],
  ['00000001 34', { kind: 'shutdown' }],
  ['00000001 66', { kind: 'connectionFailure' }],
  // The text is a printf format: a percent sign is doubled.
  ['0000000f 79 35353020352e302e302035252500', { kind: 'replyCode', text: '550 5.0.0 5%' }],
  ['00000007 68 582d4100 3100', { kind: 'addHeader', name: 'X-A', value: '1' }],
  ['0000000c 69 00000000 582d4100 203100', { kind: 'insertHeader', index: 0, name: 'X-A', value: ' 1' }],
  ['0000000a 6d 00000002 582d4100 00', { kind: 'changeHeader', index: 2, name: 'X-A', value: '' }],
  ['00000004 65 3c3e00', { kind: 'changeFrom', address: '<>', args: '' }],
  ['00000009 65 3c3e00 5341494400', { kind: 'changeFrom', address: '<>', args: 'SAID' }],
  ['00000005 2b 61406200', { kind: 'addRecipient', address: 'a@b' }],
  ['00000005 2d 61406200', { kind: 'deleteRecipient', address: 'a@b' }],
  ['00000007 32 61406200 7800', { kind: 'addRecipientWithArgs', address: 'a@b', args: 'x' }],
  ['00000003 62 6869', { kind: 'replaceBody', chunk: latin1('hi') }],
  ['00000003 71 7800', { kind: 'quarantine', reason: 'x' }],
];

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

function onlyPacket(bytes: Buffer): Packet {
  const [packet, ...others] = new PacketDecoder().push(bytes);
  if (packet === undefined || others.length > 0) throw new Error('Not one packet');
  return packet;
}

describe('the milter format', () => {
  test.each(commands)('command %s', (hex, command) => {
    expect(decodeCommand(onlyPacket(bytesOf(hex)))).toEqual(command);
    expect(encodeCommand(command).toString('hex')).toBe(bytesOf(hex).toString('hex'));
  });

  test.each(replies)('reply %s', (hex, reply) => {
    expect(decodeReply(onlyPacket(bytesOf(hex)))).toEqual(reply);
    expect(encodeReply(reply).toString('hex')).toBe(bytesOf(hex).toString('hex'));
  });

  test('a command cut short anywhere in its payload is refused, or is another valid one', () => {
    for (const [hex, command] of commands) {
      const { code, payload } = onlyPacket(bytesOf(hex));
      for (let end = 0; end < payload.length; end++) {
        const decode = () => decodeCommand({ code, payload: payload.subarray(0, end) });
        const mayBeShort = ['body', 'macros', 'mail', 'rcpt'].includes(command.kind);
        if (mayBeShort) expect(() => attempt(decode)).not.toThrow();
        else expect(decode).toThrow(ProtocolError);
      }
    }
  });

  test('left-over bytes are refused', () => {
    for (const [hex, command] of commands) {
      if (['body', 'endOfBody', 'mail', 'macros'].includes(command.kind)) continue;
      const { code, payload } = onlyPacket(bytesOf(hex));
      expect(() => decodeCommand({ code, payload: Buffer.concat([payload, latin1('x')]) })).toThrow(
        ProtocolError,
      );
    }
  });

  test('unknown codes and families are refused', () => {
    expect(() => decodeCommand({ code: 'Z', payload: Buffer.alloc(0) })).toThrow(ProtocolError);
    expect(() => decodeReply({ code: 'Z', payload: Buffer.alloc(0) })).toThrow(ProtocolError);
    expect(() => decodeCommand({ code: 'C', payload: latin1('h\0X') })).toThrow(ProtocolError);
  });

  test('a string with a NUL, or a packet too large, cannot be sent', () => {
    expect(() => encodeReply({ kind: 'addHeader', name: 'A', value: 'x\0y' })).toThrow(RangeError);
    const chunk = Buffer.alloc(maxPacketBytes);
    expect(() => encodeCommand({ kind: 'body', chunk })).toThrow(RangeError);
    expect(encodeCommand({ kind: 'body', chunk: chunk.subarray(1) })).toHaveLength(maxPacketBytes + 4);
  });

  test('any header comes back as it went', () => {
    const text = fc.string({
      unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)),
    });
    fc.assert(
      fc.property(text, text, (name, value) => {
        const command = { kind: 'header', name, value } as const;
        expect(decodeCommand(onlyPacket(encodeCommand(command)))).toEqual(command);
      }),
    );
  });

  test('whatever the packet, decoding ends in a value or a ProtocolError', () => {
    const code = fc.constantFrom(...'ABCDEHKLMNOQRTUabcdefhimpqrsty+-24'.split(''));
    fc.assert(
      fc.property(code, fc.uint8Array({ maxLength: 60 }), (letter, bytes) => {
        const packet = { code: letter, payload: Buffer.from(bytes) };
        attempt(() => decodeCommand(packet));
        attempt(() => decodeReply(packet));
      }),
    );
  });
});

describe('PacketDecoder', () => {
  const stream = Buffer.concat(commands.map(([hex]) => bytesOf(hex)));

  test('finds the same packets byte by byte as at once', () => {
    const decoder = new PacketDecoder();
    const found: Packet[] = [];
    for (const byte of stream) found.push(...decoder.push(Buffer.from([byte])));
    expect(found.map((packet) => decodeCommand(packet))).toEqual(commands.map(([, command]) => command));
    expect(decoder.atBoundary).toBe(true);
  });

  test('finds them however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length), { maxLength: 8 }), (cuts) => {
        const decoder = new PacketDecoder();
        const edges = [0, ...cuts.toSorted((one, other) => one - other), stream.length];
        const found = edges.slice(1).flatMap((end, at) => decoder.push(stream.subarray(edges[at], end)));
        expect(found).toHaveLength(commands.length);
      }),
    );
  });

  test('knows when it stands inside a packet', () => {
    const decoder = new PacketDecoder();
    expect(decoder.atBoundary).toBe(true);
    decoder.push(stream.subarray(0, 7));
    expect(decoder.atBoundary).toBe(false);
  });

  test.each([0, maxPacketBytes + 1, 0xffff_ffff])(
    'refuses the length %i before anything is kept',
    (length) => {
      const head = Buffer.alloc(5);
      head.writeUInt32BE(length);
      expect(() => new PacketDecoder().push(head)).toThrow(ProtocolError);
    },
  );
});

/** Runs `decode`; a ProtocolError is as good as a value. */
function attempt(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
  }
}
