import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { run } from '../../../builder/cli/main.ts';

async function cli(...argv: string[]) {
  const out = { stdout: '', stderr: '' };
  const sink = (name: 'stdout' | 'stderr') =>
    new PassThrough().on('data', (chunk: Buffer) => {
      out[name] += chunk.toString();
    });
  const code = await run(argv, {
    env: {},
    cwd: import.meta.dirname,
    stdin: new PassThrough(),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: new AbortController().signal,
    clock: () => new Date(0),
  });
  return { code, ...out };
}

describe('the command line', () => {
  test('explains itself, to stdout when asked and to stderr when not', async () => {
    expect(await cli('--help')).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('--domain'),
    });
    expect(await cli()).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('--domain') });
    expect(await cli('build', '--help')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('--target'),
    });
  });

  test.each([
    [['frob'], 'There is no command "frob"'],
    [['constructor'], 'There is no command "constructor"'],
    [['--frob'], "Unknown option '--frob'"],
    [['build', 'extra'], "Unexpected argument 'extra'"],
    [['--target', 'vm-x86_64'], 'No domain is given'],
    [['--domain', 'nodot'], '"nodot" is not a domain'],
    [['--domain', 'chat.example.org', '--target', 'toaster'], 'There is no target "toaster"'],
    [['--domain', 'chat.example.org', '--mirror', 'ftp.debian.org'], 'is not the address of a mirror'],
    [
      ['--domain', 'chat.example.org', '--config', 'missing.json'],
      '--config missing.json cannot be read: there is no such file',
    ],
  ])('meets %j with a sentence, a fix and exit code 2', async (argv, sentence) => {
    const result = await cli(...argv);
    expect(result.stderr).toContain(`error: `);
    expect(result.stderr).toContain(sentence);
    expect(result.stderr).toMatch(/\n {2}fix: .+\n$/);
    expect(result).toMatchObject({ code: 2, stdout: '' });
  });

  test('gives errors as one JSON object with --json', async () => {
    const { code, stdout, stderr } = await cli('--json', '--domain', 'x');
    expect(JSON.parse(stdout)).toMatchObject({ event: 'error', code: 'config', fix: expect.any(String) });
    expect({ code, stderr }).toEqual({ code: 2, stderr: '' });
  });
});
