import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { maxLineBytes } from '../../../appliance/dovecot-auth/codec.ts';
import { type AuthOutcome, createAuthSession } from '../../../appliance/dovecot-auth/session.ts';

const greeting = { pid: 1, connectionId: 1, cookie: 'c' };
const response = Buffer.from('\0alice@x\0pw').toString('base64');
const settled = () => new Promise((resolve) => setImmediate(resolve));

function start(authenticate: (username: string, password: string) => Promise<AuthOutcome>) {
  const written: string[] = [];
  const failures: unknown[] = [];
  const session = createAuthSession({
    greeting,
    authenticate,
    write: (text) => written.push(text),
    fail: (error) => failures.push(error),
  });
  written.shift();
  return { written, failures, push: (text: string) => session.push(Buffer.from(text)) };
}

const accept = async (username: string): Promise<AuthOutcome> => ({ kind: 'accepted', address: username });

describe('createAuthSession', () => {
  test('answers a login, also when its bytes come one at a time', async () => {
    const { written, push } = start(accept);
    const text = `VERSION\t1\t0\nCPID\t9\nAUTH\t1\tPLAIN\tservice=smtp\tresp=${response}\n`;
    for (const character of text) push(character);
    await settled();
    expect(written).toEqual(['OK\t1\tuser=alice@x\n']);
  });

  test('asks for the response when it did not come along', async () => {
    const { written, push } = start(accept);
    push('AUTH\t1\tPLAIN\tservice=smtp\n');
    expect(written).toEqual(['CONT\t1\t\n']);
    push(`CONT\t1\t${response}\n`);
    await settled();
    expect(written[1]).toBe('OK\t1\tuser=alice@x\n');
  });

  test('tells refused from temporarily unavailable, and malformed from neither', async () => {
    const kinds = ['denied', 'unavailable'] as const;
    const queue: AuthOutcome[] = kinds.map((kind) => ({ kind }));
    const { written, push } = start(async () => queue.shift() ?? { kind: 'denied' });
    push(`AUTH\t1\tPLAIN\tresp=${response}\nAUTH\t2\tPLAIN\tresp=${response}\nAUTH\t3\tPLAIN\tresp=AAAA\n`);
    await settled();
    expect(written.toSorted()).toEqual(['FAIL\t1\n', 'FAIL\t2\ttemp\n', 'FAIL\t3\n']);
  });

  test('refuses other mechanisms', () => {
    const { written, push } = start(accept);
    push(`AUTH\t1\tLOGIN\tservice=smtp\tresp=${response}\n`);
    expect(written).toEqual(['FAIL\t1\n']);
  });

  test('says nothing more about a request that was cancelled', async () => {
    const { promise, resolve } = Promise.withResolvers<AuthOutcome>();
    const { written, push } = start(() => promise);
    push(`AUTH\t1\tPLAIN\tresp=${response}\nCANCEL\t1\n`);
    resolve({ kind: 'accepted', address: 'alice@x' });
    await settled();
    expect(written).toEqual([]);
  });

  test('answers temporarily unavailable, and reports it, when the check itself breaks', async () => {
    const { written, failures, push } = start(() => Promise.reject(new Error('disk full')));
    push(`AUTH\t1\tPLAIN\tresp=${response}\n`);
    await settled();
    expect(written).toEqual(['FAIL\t1\ttemp\n']);
    expect(failures).toHaveLength(1);
  });

  test.each([
    ['another protocol version', 'VERSION\t2\t0\n'],
    ['a continuation of nothing', `CONT\t1\t${response}\n`],
    ['the same id twice', 'AUTH\t1\tPLAIN\nAUTH\t1\tPLAIN\n'],
    ['too many open requests', Array.from({ length: 17 }, (_, id) => `AUTH\t${id}\tPLAIN\n`).join('')],
    ['an endless line', 'x'.repeat(maxLineBytes + 1)],
  ])('gives up on %s', (_, text) => {
    const { push } = start(accept);
    expect(() => push(text)).toThrow(ProtocolError);
  });
});
