/** Our messages held against dns-packet, an independent codec. */
import packet from 'dns-packet';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import {
  classes,
  decodeMessage,
  emptyMessage,
  encodeMessage,
  opcodes,
} from '../../../appliance/dns/message.ts';

describe('encodeMessage', () => {
  test('is read by dns-packet as it was meant', () => {
    const bytes = encodeMessage({
      ...emptyMessage,
      id: 4711,
      recursionDesired: true,
      questions: [{ name: 'chat.example.org', type: 'TXT', class: classes.in }],
      answers: [
        { name: 'chat.example.org', type: 'MX', class: 1, ttlSec: 60, value: '10 mx.example.org.' },
        { name: 'chat.example.org', type: 'CAA', class: 1, ttlSec: 60, value: '0 issue "letsencrypt.org"' },
        {
          name: '_imaps._tcp.example.org',
          type: 'SRV',
          class: 1,
          ttlSec: 60,
          value: '0 1 993 chat.example.org.',
        },
      ],
    });
    const decoded = packet.decode(Buffer.from(bytes));
    expect(decoded).toMatchObject({
      id: 4711,
      flag_rd: true,
      questions: [{ name: 'chat.example.org', type: 'TXT' }],
      answers: [
        { type: 'MX', ttl: 60, data: { preference: 10, exchange: 'mx.example.org' } },
        { type: 'CAA', data: { flags: 0, tag: 'issue', value: 'letsencrypt.org' } },
        { type: 'SRV', data: { priority: 0, weight: 1, port: 993, target: 'chat.example.org' } },
      ],
    });
  });

  test('an update has its own opcode, classes and empty RDATA', () => {
    const bytes = encodeMessage({
      ...emptyMessage,
      opcode: opcodes.update,
      questions: [{ name: 'example.org', type: 'SOA', class: classes.in }],
      authorities: [{ name: 'chat.example.org', type: 'A', class: classes.any, ttlSec: 0, value: '' }],
    });
    expect(decodeMessage(bytes)).toMatchObject({
      opcode: 5,
      authorities: [{ name: 'chat.example.org', type: 'A', class: 255, ttlSec: 0, value: '' }],
    });
  });
});

describe('decodeMessage', () => {
  const reply = packet.encode({
    type: 'response',
    id: 1,
    flags: packet.AUTHORITATIVE_ANSWER | packet.RECURSION_AVAILABLE,
    questions: [{ type: 'MX', name: 'Chat.Example.org' }],
    answers: [
      {
        type: 'MX',
        name: 'chat.example.org',
        ttl: 300,
        data: { preference: 10, exchange: 'chat.example.org' },
      },
      { type: 'TXT', name: 'chat.example.org', ttl: 300, data: ['one', 'two'] },
      { type: 'AAAA', name: 'chat.example.org', ttl: 300, data: '2001:db8::1' },
    ],
  });

  test('reads what dns-packet writes', () => {
    expect(decodeMessage(reply)).toMatchObject({
      response: true,
      authoritative: true,
      recursionAvailable: true,
      rcode: 0,
      questions: [{ name: 'chat.example.org', type: 'MX' }],
      answers: [{ value: '10 chat.example.org.' }, { value: '"one" "two"' }, { value: '2001:db8::1' }],
    });
  });

  test('cut off anywhere, or with bytes after its end, it is refused', () => {
    for (let length = 0; length < reply.length; length++) {
      expect(() => decodeMessage(reply.subarray(0, length))).toThrow(ProtocolError);
    }
    expect(() => decodeMessage(Buffer.concat([reply, Buffer.of(0)]))).toThrow('after its end');
  });

  test('any byte changed is refused or read, and nothing else happens', () => {
    for (let at = 0; at < reply.length; at++) {
      for (const value of [0, 0x3f, 0xc0, 0xff]) {
        const broken = Buffer.from(reply);
        broken[at] = value;
        try {
          decodeMessage(broken);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }
    }
  });
});
