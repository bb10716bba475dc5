import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { IntegrityError } from '../../../appliance/base/errors.ts';
import { decodeMessage, emptyMessage, encodeMessage } from '../../../appliance/dns/message.ts';
import { encodeName } from '../../../appliance/dns/name.ts';
import { signMessage, type TsigKey, verifyReply } from '../../../appliance/dns/tsig.ts';

const key: TsigKey = {
  name: 'update-key',
  algorithm: 'hmac-sha256',
  secret: Buffer.from('a secret of thirty-two bytes len'),
};
const now = new Date('2026-11-20T12:00:00Z');
const seconds = now.getTime() / 1000;

const request = encodeMessage({
  ...emptyMessage,
  id: 7,
  questions: [{ name: 'example.org', type: 'SOA', class: 1 }],
});
const { signed, mac: requestMac } = signMessage(request, key, now);

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function u48(value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return bytes;
}

/** A reply as a server signs it (RFC 8945 §5.3.1), written out by hand. */
function signedReply(
  options: { time?: number; error?: number; secret?: Uint8Array; fudge?: number } = {},
): Buffer {
  const { time = seconds, error = 0, secret = key.secret, fudge = 120 } = options;
  const plain = encodeMessage({ ...emptyMessage, id: 7, response: true });
  const name = encodeName(key.name);
  const algorithm = encodeName('hmac-sha256');
  const variables = [name, u16(255), u16(0), u16(0), algorithm, u48(time), u16(fudge), u16(error), u16(0)];
  const mac = createHmac('sha256', secret)
    .update(Buffer.concat([u16(requestMac.length), requestMac, plain, ...variables]))
    .digest();
  const rdata = Buffer.concat([
    algorithm,
    u48(time),
    u16(fudge),
    u16(mac.length),
    mac,
    u16(7),
    u16(error),
    u16(0),
  ]);
  const reply = Buffer.concat([plain, name, u16(250), u16(255), u16(0), u16(0), u16(rdata.length), rdata]);
  reply.writeUInt16BE(1, 10);
  return reply;
}

describe('signMessage', () => {
  test('adds one TSIG record as the last of the message', () => {
    const { additionals } = decodeMessage(signed);
    expect(additionals).toMatchObject([{ name: 'update-key', type: 'TSIG', class: 255, ttlSec: 0 }]);
    expect(requestMac).toHaveLength(32);
  });
});

describe('verifyReply', () => {
  test('takes a reply signed with the same key, whatever fudge the server grants', () => {
    verifyReply(signedReply(), requestMac, key, now);
    verifyReply(signedReply({ fudge: 300 }), requestMac, key, now);
  });

  test('refuses a reply without a signature, with a wrong one, or to another request', () => {
    const bare = encodeMessage({ ...emptyMessage, id: 7, response: true });
    expect(() => verifyReply(bare, requestMac, key, now)).toThrow(IntegrityError);
    expect(() => verifyReply(signedReply({ secret: Buffer.from('other') }), requestMac, key, now)).toThrow(
      'is wrong',
    );
    expect(() => verifyReply(signedReply(), Buffer.alloc(32), key, now)).toThrow('is wrong');
  });

  test('refuses a reply in which any byte was changed', () => {
    const reply = signedReply();
    for (let at = 0; at < reply.length; at++) {
      const changed = Buffer.from(reply);
      changed[at] = (changed[at] ?? 0) ^ 0x41;
      expect(() => verifyReply(changed, requestMac, key, now)).toThrow();
    }
  });

  test('says what the server says is wrong', () => {
    expect(() => verifyReply(signedReply({ error: 17 }), requestMac, key, now)).toThrow(
      'knows no TSIG key update-key',
    );
    expect(() => verifyReply(signedReply({ error: 16 }), requestMac, key, now)).toThrow('another secret');
    expect(() => verifyReply(signedReply({ error: 18 }), requestMac, key, now)).toThrow('clocks');
    expect(() => verifyReply(signedReply({ time: seconds - 301 }), requestMac, key, now)).toThrow('clocks');
  });
});
