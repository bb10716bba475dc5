import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { silentLog } from '../../../appliance/base/log.ts';
import {
  createScriptCallDecoder,
  startQuotaWarningServer,
} from '../../../appliance/expiry/quota-warning-server.ts';

// Recorded from Dovecot 2.4.1's lmtp process.
const recorded = 'VERSION\tscript\t4\t0\nnoreply\nalice1234@chat.test\n\n';

describe('createScriptCallDecoder', () => {
  test('reads what Dovecot sends, whole and byte by byte', () => {
    expect(createScriptCallDecoder()(Buffer.from(recorded))).toEqual(['alice1234@chat.test']);
    const decode = createScriptCallDecoder();
    const results = Array.from(recorded, (character) => decode(Buffer.from(character)));
    expect(results.slice(0, -1).every((result) => result === null)).toBe(true);
    expect(results.at(-1)).toEqual(['alice1234@chat.test']);
  });

  test.each([
    ['another protocol', 'GET / HTTP/1.1\n'],
    ['another version', 'VERSION\tscript\t5\t0\n'],
    ['an unknown option', 'VERSION\tscript\t4\t0\nreply-please\n'],
    ['an endless line', `VERSION\tscript\t4\t0\nnoreply\n${'x'.repeat(600)}`],
    ['endless arguments', `VERSION\tscript\t4\t0\nnoreply\n${'x\n'.repeat(20)}`],
  ])('refuses %s', (_, text) => {
    expect(() => createScriptCallDecoder()(Buffer.from(text))).toThrow(ProtocolError);
  });
});

describe('startQuotaWarningServer', () => {
  test('reports the user and closes, and survives nonsense', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'quota-'));
    const socketPath = join(directory, 'quota.sock');
    const users: string[] = [];
    const server = await startQuotaWarningServer({
      socketPath,
      nearlyFull: (user) => users.push(user),
      log: silentLog,
    });
    for (const text of ['nonsense\n', recorded]) {
      const socket = connect(socketPath);
      socket.on('error', () => {});
      socket.resume();
      socket.write(text);
      await once(socket, 'close');
    }
    expect(users).toEqual(['alice1234@chat.test']);
    await server[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });
});
