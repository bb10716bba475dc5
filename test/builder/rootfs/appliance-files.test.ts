import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readContent } from '../../../builder/formats/tree.ts';
import { applianceFiles } from '../../../builder/rootfs/appliance-files.ts';

const appliance = {
  programs: [{ fileName: 'relay.js', bytes: new TextEncoder().encode('relay') }],
  npmPackages: [],
};

describe('applianceFiles', () => {
  test('puts programs, scripts and templates where the device looks, and the builder’s own nowhere', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'files-'));
    const templates = [
      'boot/README.txt', 'dns/zone.ejs', 'dovecot/conf.d/a.ejs', 'init/inittab', 'init/rc', 'initramfs/init',
      'network/udhcpc.sh', 'postfix/main.cf.ejs',
      // What editors and desktops leave in a checkout.
      'postfix/.DS_Store', 'postfix/.main.cf.ejs.swp', 'postfix/main.cf.ejs~',
    ]; // prettier-ignore
    for (const name of templates) {
      await mkdir(dirname(join(scratch.path, 'templates', name)), { recursive: true });
      await writeFile(join(scratch.path, 'templates', name), name, { mode: 0o600 });
    }
    const files = await applianceFiles({ appliance, sourceDirectory: scratch.path, mtimeSec: 7 });
    expect(files.map(({ path, mode }) => `${mode.toString(8)} ${path}`).sort()).toEqual([
      '644 etc/inittab',
      '644 usr/lib/chatmail/relay.js',
      '644 usr/lib/chatmail/templates/dovecot/conf.d/a.ejs',
      '644 usr/lib/chatmail/templates/postfix/main.cf.ejs',
      '755 usr/lib/chatmail/rc',
      '755 usr/lib/chatmail/udhcpc.sh',
    ]);
    for (const file of files) {
      expect(file).toMatchObject({ uid: 0, gid: 0, mtimeSec: 7 });
      if (file.kind !== 'file') throw new Error('No file');
      expect(file.content.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
      expect((await readContent(file.content, 100)).length).toBe(file.content.sizeBytes);
    }
  });
});
