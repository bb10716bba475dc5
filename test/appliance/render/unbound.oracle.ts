/** What we render, judged by the programs that read it: unbound-checkconf(8), chronyd(8) -p. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { readTemplates, renderConfiguration } from '../../../appliance/render/render.ts';

const checkconf = '/usr/sbin/unbound-checkconf';
const chronyd = '/usr/sbin/chronyd';
const templates = await readTemplates(fileURLToPath(new URL('../../../templates', import.meta.url)));

async function rendered(document: object, path: string): Promise<string> {
  const config = parseConfig({ domain: 'chat.example.org', ...document });
  const files = await renderConfiguration(config, { memoryBytes: 512 * 1024 ** 2, cpuCount: 1 }, templates);
  return files.find((file) => file.path === path)?.text ?? '';
}

const documents = [
  {},
  { network: { forwarders: ['9.9.9.9', '2620:fe::fe'] } },
  { network: { ipv6: 'off', ntpServers: ['192.0.2.123', 'ntp.example.org'] } },
  { domain: '2001:db8::1' },
  { domain: 'chat.home.arpa', network: { forwarders: ['10.0.0.1'] } },
];

describe.skipIf(!existsSync(checkconf) && process.env.CI === undefined)('unbound.conf', () => {
  test.each(documents)('is accepted by unbound-checkconf (%j)', async (document) => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'unbound-'));
    const file = join(directory.path, 'unbound.conf');
    // The checker wants the directories to be there.
    const text = (await rendered(document, '/run/unbound/unbound.conf'))
      .replaceAll('/run/unbound', directory.path)
      .replaceAll('/data/unbound', join(directory.path, 'state'))
      .replace(/^ {2}root-hints:.*$/m, '');
    await mkdir(join(directory.path, 'state'));
    await writeFile(
      join(directory.path, 'state/root.key'),
      '. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n',
    );
    await writeFile(file, text);
    expect(execFileSync(checkconf, [file], { encoding: 'utf8' })).toContain('no errors');
  });
});

describe.skipIf(!existsSync(chronyd) && process.env.CI === undefined)('chrony.conf', () => {
  test.each(documents)('is accepted by chronyd -p (%j)', async (document) => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'chrony-'));
    const file = join(directory.path, 'chrony.conf');
    await writeFile(file, await rendered(document, '/run/chrony/chrony.conf'));
    expect(execFileSync(chronyd, ['-p', '-f', file], { encoding: 'utf8' })).toContain('makestep 1 3');
  });
});
