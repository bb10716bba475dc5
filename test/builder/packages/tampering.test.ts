/** Everything a mirror, a proxy or a thief of a mirror could do, and what has to come of it. */
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { IntegrityError } from '../../../appliance/base/errors.ts';
import {
  archiveDateMs,
  type ArchiveFiles,
  buildArchive,
  type FakePackage,
  type FakeSuite,
  type Interference,
  makeDeb,
  makeSigningKey,
  makeSuite,
  serveFiles,
  type SigningKey,
} from '../../fakes/debian-archive.ts';
import { openWorkshop } from '../../fakes/package-workshop.ts';

const hello: FakePackage = { name: 'hello', version: '2.10-3', fields: { Depends: 'libgreet (>= 1.0)' } };
const libgreet: FakePackage = { name: 'libgreet', version: '1.4-1' };
const helloPath = 'debian/pool/main/h/hello/hello_2.10-3_amd64.deb';
const inReleasePath = 'debian/dists/trixie/InRelease';
const day = 86_400_000;

let key: SigningKey;
let otherKey: SigningKey;
let expiredKey: SigningKey;
beforeAll(async () => {
  [key, otherKey, expiredKey] = await Promise.all([
    makeSigningKey('Test Archive Key'),
    makeSigningKey('Somebody Else'),
    makeSigningKey('Expired Archive Key', {
      date: new Date(archiveDateMs - 100 * day),
      expiresAfterSec: (100 * day) / 1000 + 1800,
    }),
  ]);
});

const fakeSuite = (changes: Partial<FakeSuite> = {}): FakeSuite => ({
  suite: makeSuite('trixie', key),
  packages: [hello, libgreet],
  ...changes,
});

function edit(files: ArchiveFiles, path: string, change: (text: string) => string): void {
  const bytes = files.get(path);
  if (bytes === undefined) throw new Error(`The archive has no ${path}`);
  files.set(path, Buffer.from(change(Buffer.from(bytes).toString('latin1')), 'latin1'));
}

interface Attack {
  readonly name: string;
  /** The suite as the attacker publishes it. */
  readonly suite?: () => Partial<FakeSuite>;
  /** The suite as we expect it. */
  readonly expected?: () => Partial<FakeSuite['suite']>;
  readonly change?: (files: ArchiveFiles) => void;
  readonly interfere?: Interference;
  /** The message has to name the file, what was expected and what was found. */
  readonly message: readonly RegExp[];
  /** What may be in the cache afterwards, beside its tag: what was verified before the attack. */
  readonly keeps?: readonly RegExp[];
}

const verifiedRelease = [/^indexes\/debian-trixie\.json$/, /^sha256\//];

/** Of the InRelease, Packages and resolution, not of what was attacked. */
const attacks: readonly Attack[] = [
  {
    name: 'an InRelease signed with another key',
    suite: () => ({ signedBy: otherKey }),
    message: [/InRelease of trixie/, /Test Archive Key/, /only unknown keys \([0-9a-f]{16}\)/],
  },
  {
    name: 'an InRelease signed with a key that has expired since',
    suite: () => ({ signedBy: expiredKey }),
    expected: () => ({ keys: [expiredKey.pinned] }),
    message: [/InRelease of trixie/, /Expired Archive Key/, /has expired/],
  },
  {
    name: 'an altered InRelease',
    change: (files) =>
      edit(files, inReleasePath, (text) => text.replace('Components: main', 'Components: mail')),
    message: [/InRelease of trixie/, /Test Archive Key/, /bad signature/],
  },
  {
    name: 'an InRelease without its signature',
    change: (files) =>
      edit(files, inReleasePath, (text) => text.replace(/^[^]*?\n\n|-----BEGIN PGP SIGNATURE[^]*/g, '')),
    message: [/InRelease of trixie/, /expected a signature/, /no signed text/],
  },
  {
    name: 'an InRelease with lines before the signed ones',
    change: (files) => edit(files, inReleasePath, (text) => text.replace('\n\n', '\nCodename: trixie\n\n')),
    message: [/InRelease of trixie/, /expected a signature/],
  },
  {
    name: 'an InRelease that is no text',
    change: (files) => files.set(inReleasePath, new Uint8Array([0xff, 0xfe, 0])),
    message: [/InRelease of trixie is not UTF-8/],
  },
  {
    name: 'an InRelease without end',
    interfere: (path, response) => {
      if (path !== inReleasePath) return false;
      response.writeHead(200);
      const pour = () => {
        while (response.write(Buffer.alloc(65_536, 0x61)));
        response.once('drain', pour);
      };
      pour();
      return true;
    },
    message: [/size of InRelease of trixie/, /at most 8388608 bytes/, /found more/],
  },
  {
    name: 'an expired InRelease',
    suite: () => ({ validUntilMs: archiveDateMs + 60_000 }),
    message: [/InRelease of trixie has expired/, /2026-06-01T12:01/, /2026-06-01T13:00/],
  },
  {
    name: 'an InRelease without Valid-Until where one belongs',
    suite: () => ({ validUntilMs: null }),
    message: [/Valid-Until of InRelease of trixie/, /expected a date, found nothing/],
  },
  {
    name: 'an InRelease from the future',
    suite: () => ({ dateMs: archiveDateMs + day, validUntilMs: archiveDateMs + 2 * day }),
    message: [/InRelease of trixie/, /from the future.*2026-06-01T13:00.*check the clock/],
  },
  {
    name: 'the InRelease of another release, signed with the same key',
    suite: () => ({ release: { Codename: 'bookworm' } }),
    message: [/Codename of InRelease of trixie/, /expected trixie, found bookworm/],
  },
  {
    name: 'the InRelease of another suite, signed with the same key',
    suite: () => ({ release: { Suite: 'stable-backports' } }),
    message: [/Suite of InRelease of trixie/, /expected stable, found stable-backports/],
  },
  {
    name: 'the InRelease of another archive, signed with the same key',
    suite: () => ({ release: { Label: 'Debian-Security' } }),
    message: [/Label of InRelease of trixie/, /expected Debian, found Debian-Security/],
  },
  {
    name: 'an altered Packages',
    change: (files) => {
      for (const path of files.keys()) {
        if (!path.includes('/binary-amd64/')) continue;
        const forged = gzipSync(Buffer.from('Package: hello\nVersion: 9\n'));
        files.set(
          path,
          Buffer.concat([forged, Buffer.alloc((files.get(path)?.length ?? 0) - forged.length)]),
        );
      }
    },
    message: [
      /main\/binary-amd64\/Packages\.gz of trixie does not match/,
      /expected sha256 \w+/,
      /found sha256 \w+/,
    ],
    keeps: verifiedRelease,
  },
  {
    name: 'a package replaced by another valid one',
    change: (files) => files.set(helloPath, makeDeb({ ...hello, files: { 'usr/evil': 'x' } })),
    message: [/hello_2\.10-3_amd64\.deb/, /expected/, /found/],
    keeps: [...verifiedRelease, /^resolutions\//],
  },
  {
    name: 'a package with one bit flipped',
    change: (files) =>
      edit(files, helloPath, (text) => `${text.slice(0, -1)}${text.endsWith('a') ? 'b' : 'a'}`),
    message: [/hello_2\.10-3_amd64\.deb does not match/, /expected sha256 \w+, found sha256 \w+/],
    keeps: [...verifiedRelease, /^resolutions\//],
  },
  {
    name: 'a package larger than declared',
    change: (files) => edit(files, helloPath, (text) => `${text}${' '.repeat(100_000)}`),
    message: [/hello_2\.10-3_amd64\.deb is larger than declared/, /expected \d+ bytes, found more/],
    keeps: [...verifiedRelease, /^resolutions\//],
  },
  {
    name: 'a package shorter than declared',
    change: (files) => edit(files, helloPath, (text) => text.slice(0, -10)),
    message: [/hello_2\.10-3_amd64\.deb does not match/, /expected \d+ bytes, found \d+ bytes/],
    keeps: [...verifiedRelease, /^resolutions\//],
  },
  {
    name: 'a download that breaks off every time',
    interfere: (path, response) => {
      if (path !== helloPath) return false;
      response.writeHead(200, { 'content-length': 1000 });
      response.write('!<arch>\n', () => response.destroy());
      return true;
    },
    message: [/hello_2\.10-3_amd64\.deb/, /127\.0\.0\.1:\d+/, /--mirror|broke off/],
    keeps: [...verifiedRelease, /^resolutions\//],
  },
  {
    name: 'a package that the mirror does not have',
    change: (files) => files.delete(helloPath),
    message: [/hello_2\.10-3_amd64\.deb is not on 127\.0\.0\.1:\d+/],
    keeps: [...verifiedRelease, /^resolutions\//],
  },
];

describe('preparePackages refuses', () => {
  test.each(attacks)('$name', async ({ suite, expected, change, interfere, message, keeps = [] }) => {
    const ours = { ...makeSuite('trixie', key), ...expected?.() };
    await using workshop = await openWorkshop([ours]);
    const files = await buildArchive([fakeSuite(suite?.())], key);
    change?.(files);
    await using server = await serveFiles(files, interfere);

    const error: unknown = await workshop.prepare(server.url).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );

    expect(error).toBeInstanceOf(Error);
    for (const pattern of message) expect(String(error)).toMatch(pattern);
    for (const path of await workshop.list()) {
      const isExpected = [/^CACHEDIR\.TAG$/, ...keeps].some((pattern) => pattern.test(path));
      expect(isExpected, `${path} is left in the cache`).toBe(true);
    }
    expect((await workshop.list()).some((path) => path.startsWith('temporary/'))).toBe(false);
  });

  test('an index older than the one seen before, and keeps the newer', async () => {
    await using workshop = await openWorkshop([makeSuite('trixie', key)]);
    const newer = await buildArchive([fakeSuite({ dateMs: archiveDateMs + 60_000 })], key);
    const older = await buildArchive([fakeSuite()], key);
    {
      await using server = await serveFiles(newer);
      await workshop.prepare(server.url);
    }
    const before = await workshop.list();
    await using server = await serveFiles(older, (path, response) => {
      if (path !== inReleasePath) return false;
      response.end(older.get(path));
      return true;
    });
    const replay = workshop.prepare(server.url, { refresh: true });
    await expect(replay).rejects.toThrow(IntegrityError);
    await expect(replay).rejects.toThrow(
      /InRelease of trixie is older .*expected 2026-06-01T12:01.*found 2026-06-01T12:00/,
    );
    expect(await workshop.list()).toEqual(before);
    const offline = await workshop.prepare(server.url, { offline: true });
    expect(offline.lock.suites[0]?.date).toBe('2026-06-01T12:01:00Z');
  });

  test('a cached index after its Valid-Until, even when told to use the cache', async () => {
    await using workshop = await openWorkshop([makeSuite('trixie', key)]);
    await using server = await serveFiles(await buildArchive([fakeSuite()], key));
    await workshop.prepare(server.url);
    workshop.clock.nowMs = archiveDateMs + 8 * day;
    await expect(workshop.prepare(server.url, { offline: true })).rejects.toThrow(
      /cached index of trixie expired/,
    );
    // The mirror still has the same, which is no longer good enough.
    await expect(workshop.prepare(server.url)).rejects.toThrow(/InRelease of trixie has expired/);
  });

  test('what it does not refuse: the untouched archive', async () => {
    await using workshop = await openWorkshop([makeSuite('trixie', key)]);
    await using server = await serveFiles(await buildArchive([fakeSuite()], key));
    const { packages } = await workshop.prepare(server.url);
    expect(packages.map(({ name, version }) => `${name} ${version}`)).toEqual([
      'hello 2.10-3',
      'libgreet 1.4-1',
    ]);
  });
});
