import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../../appliance/base/errors.ts';
import {
  parseSourcesList,
  parseSourcesStanzas,
  readAptSources,
} from '../../../builder/packages/apt-sources.ts';
import { chooseMirrors, snapshotUrls } from '../../../builder/packages/mirror.ts';

const defaults = {
  debian: 'http://ftp.debian.org/debian',
  security: 'http://security.debian.org/debian-security',
};

const sourcesList = `# a comment
deb http://mirror.example.org/debian/ bookworm main contrib # near
deb-src http://source.example.org/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://two.example.org/debian trixie main
deb http://mirror.example.org/debian-security bookworm-security main
deb [signed-by=/etc/apt/keyrings/other.gpg] http://other.example.org/debian trixie main
deb cdrom:[Debian 12]/ bookworm main
deb http://flat.example.org/ ./
deb http://archive.raspberrypi.example/debian trixie main
garbage
`;

const deb822 = `# Debian
Types: deb deb-src
URIs: http://mirror.example.org/debian file:///srv/mirror/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: http://mirror.example.org/security/
Suites: trixie-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example.org/debian
Suites: trixie
Components: main

Types: deb
URIs: http://embedded.example.org/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQ==
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://archive.example.com/ubuntu
Suites: noble noble-updates noble-security
Components: main
`;

describe('chooseMirrors', () => {
  test('without a name and without sources takes Debian’s own', () => {
    expect(chooseMirrors(undefined, [])).toEqual({
      debian: [defaults.debian],
      'debian-security': [defaults.security],
    });
  });

  test('takes the machine’s mirrors first, from one-line sources', () => {
    expect(chooseMirrors(undefined, parseSourcesList(sourcesList))).toEqual({
      debian: ['http://mirror.example.org/debian', 'https://two.example.org/debian', defaults.debian],
      'debian-security': ['http://mirror.example.org/debian-security', defaults.security],
    });
  });

  test('and from deb822 sources; what is disabled, or signed by others, is not taken', () => {
    const mirrors = chooseMirrors(undefined, parseSourcesStanzas(deb822));
    expect(mirrors.debian).toEqual([
      'http://mirror.example.org/debian',
      'file:///srv/mirror/debian',
      defaults.debian,
    ]);
    expect(mirrors['debian-security'][0]).toBe('http://mirror.example.org/security');
  });

  test('takes no security mirror of another distribution', () => {
    const ubuntu = parseSourcesList('deb http://archive.example.com/ubuntu noble-security main');
    expect(chooseMirrors(undefined, ubuntu)['debian-security']).toEqual([defaults.security]);
  });

  test('a named mirror is the only one of the main archive, and its neighbour the first of security', () => {
    expect(chooseMirrors('http://near.example.org/debian/', parseSourcesList(sourcesList))).toEqual({
      debian: ['http://near.example.org/debian'],
      'debian-security': [
        'http://near.example.org/debian-security',
        'http://mirror.example.org/debian-security',
        defaults.security,
      ],
    });
  });

  test.each(['near.example.org', 'ftp://near.example.org/debian', '/srv/mirror', ''])(
    'refuses %j',
    (text) => {
      expect(() => chooseMirrors(text, [])).toThrow(ConfigError);
    },
  );
});

describe('readAptSources', () => {
  test('reads both formats of a directory, in order, and passes over the rest', async () => {
    await using temporary = await mkdtempDisposable(join(tmpdir(), 'chatmail-build-test-'));
    const parts = join(temporary.path, 'sources.list.d');
    await mkdir(parts);
    const line = (host: string) => `deb http://${host}/debian trixie main\n`;
    await writeFile(join(temporary.path, 'sources.list'), line('zero'));
    await writeFile(join(parts, 'b.sources'), deb822.slice(0, deb822.indexOf('\n\n')));
    await writeFile(join(parts, 'a.list'), line('one'));
    await writeFile(join(parts, 'c.list.disabled'), line('never'));
    await writeFile(join(parts, 'd.sources'), ' broken\n');
    const uris = (await readAptSources(temporary.path)).map(({ uri }) => uri);
    expect(uris).toEqual([
      'http://zero/debian',
      'http://one/debian',
      'http://mirror.example.org/debian',
      'file:///srv/mirror/debian',
    ]);
  });

  test('is empty on a machine without apt', async () => {
    expect(await readAptSources(join(tmpdir(), 'there-is-no-such-directory'))).toEqual([]);
  });
});

describe('snapshotUrls', () => {
  test('asks for the archive somewhat after its date', () => {
    const date = Date.UTC(2026, 8, 12, 7, 55, 41) / 1000;
    expect(snapshotUrls('http://s/archive', 'debian-security', date, 'pool/a.deb')).toEqual([
      'http://s/archive/debian-security/20260912T195541Z/pool/a.deb',
      'http://s/archive/debian-security/20260913T195541Z/pool/a.deb',
      'http://s/archive/debian-security/20260912T075541Z/pool/a.deb',
    ]);
  });
});
