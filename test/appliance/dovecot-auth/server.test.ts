import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { startSaslServer } from '../../../appliance/dovecot-auth/server.ts';

let directory = '';
let socketPath = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sasl-'));
  socketPath = join(directory, 'sasl.sock');
});
afterEach(() => rm(directory, { recursive: true }));

/** Reads until `pattern` matches what has come so far, or the peer closes. */
async function readUntil(socket: Socket, pattern: RegExp): Promise<string> {
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    text += chunk.toString();
    if (pattern.test(text)) break;
  }
  return text;
}

const start = () =>
  startSaslServer({
    socketPath,
    log: silentLog,
    authenticate: async (username, password) =>
      password === 'right' ? { kind: 'accepted', address: username } : { kind: 'denied' },
  });

describe('startSaslServer', () => {
  test('greets with a cookie of its own for each connection, and answers logins', async () => {
    await using _server = await start();
    const cookies: string[] = [];
    for (const [password, reply] of [
      ['right', 'OK\t1\tuser=a@b\n'],
      ['wrong', 'FAIL\t1\n'],
    ] as const) {
      const socket = connect(socketPath);
      const greeting = await readUntil(socket, /DONE\n$/);
      cookies.push(/COOKIE\t([0-9a-f]{32})\n/.exec(greeting)?.[1] ?? '');
      const response = Buffer.from(`\0a@b\0${password}`).toString('base64');
      socket.write(`VERSION\t1\t0\nCPID\t1\nAUTH\t1\tPLAIN\tservice=smtp\tresp=${response}\n`);
      expect(await readUntil(socket, /\n$/)).toBe(reply);
      socket.destroy();
    }
    expect(new Set(cookies).size).toBe(2);
    expect(cookies).not.toContain('');
  });

  test('closes on a peer that breaks the protocol and keeps serving others', async () => {
    await using _server = await start();
    const bad = connect(socketPath);
    bad.write('VERSION\t9\t0\n');
    await readUntil(bad, /never/);
    expect(bad.readableEnded || bad.destroyed).toBe(true);
    const good = connect(socketPath);
    expect(await readUntil(good, /DONE\n$/)).toContain('MECH\tPLAIN');
    good.destroy();
  });

  test('replaces a stale socket, opens it to the group alone, and goes away when stopped', async () => {
    await writeFile(socketPath, '');
    const server = await start();
    expect((await stat(socketPath)).mode & 0o777).toBe(0o660);
    const open = connect(socketPath);
    await readUntil(open, /DONE\n$/);
    await server[Symbol.asyncDispose]();
    await expect(stat(socketPath)).rejects.toThrow('ENOENT');
    open.destroy();
  });
});
