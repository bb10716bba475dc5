import { mkdtempDisposable, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { askSupervisor } from '../../../appliance/supervise/control-client.ts';
import {
  type ControlRequest,
  decodeReply,
  decodeRequest,
  maxRequestBytes,
} from '../../../appliance/supervise/control-protocol.ts';
import { startControlServer } from '../../../appliance/supervise/control-server.ts';

const directory = () => mkdtempDisposable(join(tmpdir(), 'control-'));

function talk(path: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => (text += chunk));
    socket.once('error', reject);
    socket.once('close', () => resolve(text));
    socket.end(bytes);
  });
}

describe('decodeRequest', () => {
  test('takes each request and fills in what is left out', () => {
    expect(decodeRequest('{"request":"logs","service":"postfix"}')).toEqual({
      request: 'logs',
      service: 'postfix',
      lines: 100,
    });
  });

  test.each([
    '',
    'null',
    '[]',
    '{}',
    '{"request":"format"}',
    '{"request":"status","more":1}',
    '{"request":"restart"}',
    '{"request":"restart","service":"../x"}',
    '{"request":"logs","service":"postfix","lines":1e9}',
  ])('refuses %j', (line) => {
    expect(() => decodeRequest(line)).toThrow(expect.objectContaining({ code: 'protocol' }));
  });
});

describe.skipIf(process.platform === 'win32')('startControlServer', () => {
  test('drops who asks on and on without waiting for answers', async () => {
    await using temporary = await directory();
    const path = join(temporary.path, 'a.sock');
    let asked = 0;
    const { promise: never } = Promise.withResolvers<void>();
    await using _server = await startControlServer([{ path, allowed: ['status'] }], () => {
      asked++;
      return never;
    });
    expect(await talk(path, '{"request":"status"}\n'.repeat(100)).catch(() => '')).toBe('');
    expect(asked).toBeLessThanOrEqual(1);
  });

  test('answers what the socket allows, and says what it does not', async () => {
    await using temporary = await directory();
    const all = join(temporary.path, 'all.sock');
    const few = join(temporary.path, 'few.sock');
    const seen: ControlRequest[] = [];
    await using _server = await startControlServer(
      [
        { path: all, allowed: ['status', 'restart', 'reboot'] },
        { path: few, allowed: ['status'], gid: process.getgid?.() ?? 0 },
      ],
      async (request) => {
        seen.push(request);
        if (request.request === 'restart') throw new Error('no such service');
        return { up: true };
      },
    );
    expect((await stat(all)).mode & 0o777).toBe(0o600);
    expect((await stat(few)).mode & 0o777).toBe(0o660);
    const signal = AbortSignal.timeout(5000);
    expect(await askSupervisor(few, { request: 'status' }, signal)).toEqual({ up: true });
    await expect(askSupervisor(few, { request: 'reboot' }, signal)).rejects.toThrow('not allowed');
    await expect(askSupervisor(all, { request: 'restart', service: 'x' }, signal)).rejects.toThrow(
      'no such service',
    );
    expect(seen.map(({ request }) => request)).toEqual(['status', 'restart']);
  });

  test('answers requests in order on one connection, and cuts off one that is too long', async () => {
    await using temporary = await directory();
    const path = join(temporary.path, 'x.sock');
    await using _server = await startControlServer([{ path, allowed: ['status'] }], async () => 1);
    const replies = (await talk(path, '{"request":"status"}\n{"request":"status"}\n')).trim().split('\n');
    expect(replies.map(decodeReply)).toEqual([
      { ok: true, result: 1 },
      { ok: true, result: 1 },
    ]);
    expect(await talk(path, 'x'.repeat(maxRequestBytes + 1))).toContain('at most');
  });

  test('replaces the socket a killed supervisor left', async () => {
    await using temporary = await directory();
    const path = join(temporary.path, 'x.sock');
    await using _first = await startControlServer([{ path, allowed: ['status'] }], async () => 'first');
    await using _second = await startControlServer([{ path, allowed: ['status'] }], async () => 'second');
    expect(await askSupervisor(path, { request: 'status' }, AbortSignal.timeout(5000))).toBe('second');
  });
});
