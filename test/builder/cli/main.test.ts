import { describe, expect, test } from 'vitest';
import { cli as inProcess } from './in-process.ts';

const cli = (...argv: string[]) => inProcess(argv, { cwd: import.meta.dirname });

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

  test('whatever breaks after Ctrl-C, the person is told of that alone', async () => {
    const signal = AbortSignal.abort();
    expect(await inProcess(['--domain', 'nodot'], { signal })).toEqual({
      code: 130,
      stdout: '',
      stderr: 'error: Interrupted\n  fix: Run the same command again: what was downloaded is kept\n',
    });
  });
});
