/** What GnuPG encrypts, with its partial lengths and old packet formats, before our gate. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { isEncryptedArmor } from '../../../appliance/filter/openpgp.ts';

const hasGpg = spawnSync('gpg', ['--version']).status === 0;
const home = mkdtempSync(join(tmpdir(), 'gpg-'));
afterAll(() => {
  // The agent that gpg started for this home directory.
  spawnSync('gpgconf', ['--homedir', home, '--kill', 'all']);
  rmSync(home, { recursive: true, force: true });
});

function gpg(input: string, ...args: string[]): Buffer {
  const options = [
    '--homedir',
    home,
    '--batch',
    '--yes',
    '--quiet',
    '--no-auto-key-locate',
    '--no-tty',
    '--armor',
    '--pinentry-mode',
    'loopback',
  ];
  const { status, stdout, stderr } = spawnSync('gpg', [...options, ...args], {
    input,
    maxBuffer: 16 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(stderr.toString());
  return Buffer.from(stdout.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1');
}

const password = ['--passphrase', 'secret', '--symmetric', '--s2k-count', '1024'];

describe.skipIf(!hasGpg && process.env['CI'] === undefined)('the gate takes what GnuPG encrypts', () => {
  test.each([
    ['a line', 'Hello', []],
    ['a pipe of 1 MB, in partial lengths', 'x'.repeat(1_000_000), ['--compress-algo', 'none']],
    ['to two passwords of different S2K', 'Hello', ['--s2k-mode', '1']],
  ])('%s', (_, text, args) => {
    expect(isEncryptedArmor(gpg(text, ...args, ...password), { allowVersionHeader: false })).toBe(true);
  });

  test('to keys, known and hidden', () => {
    gpg(
      '',
      '--passphrase',
      '',
      '--quick-generate-key',
      'bob@example.net',
      'future-default',
      'default',
      'never',
    );
    for (const recipient of [
      ['--recipient', 'bob@example.net'],
      ['--hidden-recipient', 'bob@example.net'],
    ]) {
      const armor = gpg('Hello', '--trust-model', 'always', ...recipient, '--encrypt');
      expect(isEncryptedArmor(armor, { allowVersionHeader: false })).toBe(true);
    }
  });

  test('but not what it only signs or packs', () => {
    expect(isEncryptedArmor(gpg('Hello', '--store'), { allowVersionHeader: true })).toBe(false);
    gpg(
      '',
      '--passphrase',
      '',
      '--quick-generate-key',
      'eve@example.net',
      'future-default',
      'default',
      'never',
    );
    const signed = gpg('Hello', '--local-user', 'eve@example.net', '--passphrase', '', '--sign');
    expect(isEncryptedArmor(signed, { allowVersionHeader: true })).toBe(false);
  });
});
