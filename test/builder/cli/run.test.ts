import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { run } from '../../../builder/cli/main.ts';

async function cli(cwd: string, ...argv: string[]) {
  const out = { stdout: '', stderr: '' };
  const sink = (name: 'stdout' | 'stderr') =>
    new PassThrough().on('data', (chunk: Buffer) => {
      out[name] += chunk.toString();
    });
  const code = await run(['run', ...argv], {
    // Without QEMU on PATH nothing is ever started by these tests.
    env: { PATH: '', XDG_CACHE_HOME: cwd },
    cwd,
    stdin: new PassThrough(),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: new AbortController().signal,
    clock: () => new Date(0),
  });
  return { code, ...out };
}

describe('chatmail-build run', () => {
  test.each([
    [['--memory', '64'], '--memory 64 is not a whole number from 256'],
    [['--cpus', '2.5'], '--cpus 2.5 is not'],
    [['--timeout', 'soon'], '--timeout soon is not'],
    [['--bios', '--uefi'], '--bios and --uefi exclude each other'],
    [['--accel', 'xen'], '--accel xen is none of'],
    [['--ports', 'pop3=110'], '--ports names "pop3"'],
    [['--ports', 'smtp=70000'], '--ports smtp 70000 is not'],
    [['--port-offset', '-1'], '--port-offset'],
    [['one.img', 'two.img'], "Unexpected argument 'two.img'"],
  ])('%j is wrong usage', async (args, message) => {
    const image = args[0]?.endsWith('.img') ? [] : ['relay-vm-x86_64.img'];
    const { code, stdout, stderr } = await cli(tmpdir(), ...image, ...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
  });

  test('an arm64 image is started by no BIOS', async () => {
    expect(await cli(tmpdir(), 'chat.example.org-vm-arm64.img', '--bios')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('arm64 machines start by UEFI only'),
    });
  });

  test('an image for a Raspberry Pi cannot be run', async () => {
    expect(await cli(tmpdir(), 'chat.example.org-rpi-arm64.img')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--target vm-x86_64'),
    });
  });

  test('no image says how to build one', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'run-'));
    expect(await cli(directory.path)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Build one (chatmail-build --domain chat.example.org)'),
    });
  });

  test('an image that is not there is named', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'run-'));
    const { code, stdout } = await cli(directory.path, 'gone.img', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ event: 'error', code: 'missing' });
  });
});
