import { readFile, rm, writeFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { sha256 } from '../../../builder/packages/blob.ts';
import { decodeLock, encodeLock } from '../../../builder/packages/lockfile.ts';
import type { Suite } from '../../../builder/packages/suites.ts';
import {
  archiveDateMs,
  type ArchiveFiles,
  buildArchive,
  type FakePackage,
  type FakeSuite,
  makeSigningKey,
  makeSuite,
  serveFiles,
  type SigningKey,
} from '../../fakes/debian-archive.ts';
import { openWorkshop } from '../../fakes/package-workshop.ts';

const hour = 3_600_000;
const hello: FakePackage = { name: 'hello', version: '2.10-3', fields: { Depends: 'libgreet (>= 1.0)' } };
const libgreet: FakePackage = { name: 'libgreet', version: '1.4-1' };
const fixed: FakePackage = {
  name: 'libgreet',
  version: '1.4-1+deb13u1',
  fields: { Source: 'greet (1.4-1+deb13u1)' },
};

let key: SigningKey;
let main: Suite;
let security: Suite;
beforeAll(async () => {
  key = await makeSigningKey('Test Archive Key');
  main = makeSuite('trixie', key);
  security = makeSuite('trixie-security', key, { archive: 'debian-security', label: 'Debian-Security' });
});

async function archive(changes: Partial<FakeSuite> = {}): Promise<ArchiveFiles> {
  return await buildArchive(
    [
      { suite: main, packages: [hello, libgreet], ...changes },
      { ...changes, suite: security, packages: [fixed] },
    ],
    key,
  );
}

describe('preparePackages', () => {
  test('always looks into the security suite, whatever suites are named', async () => {
    await using workshop = await openWorkshop([main, security]);
    await using server = await serveFiles(await archive());
    const { packages, lock } = await workshop.prepare(server.url, { suites: ['trixie'] });
    expect(packages.map(({ name, version, suite }) => [name, version, suite])).toEqual([
      ['hello', '2.10-3', 'trixie'],
      ['libgreet', '1.4-1+deb13u1', 'trixie-security'],
    ]);
    expect(lock.suites).toEqual([
      { name: 'trixie', archive: 'debian', date: '2026-06-01T12:00:00Z' },
      { name: 'trixie-security', archive: 'debian-security', date: '2026-06-01T12:00:00Z' },
    ]);
  });

  test('asks nobody the second time, and gives the same', async () => {
    await using workshop = await openWorkshop([main, security]);
    await using server = await serveFiles(await archive());
    const first = await workshop.prepare(server.url, { excludes: { ghost: 'not there' } });
    const asked = server.requests.length;
    const second = await workshop.prepare(server.url, { excludes: { ghost: 'not there' } });
    expect(server.requests.length).toBe(asked);
    expect(second).toEqual({ ...first, downloadedBytes: 0 });
    expect(second.unusedExcludes).toEqual(['ghost']);
    expect(first.downloadedBytes).toBeGreaterThan(0);
  });

  test('asks again after six hours, and downloads nothing when nothing has changed', async () => {
    await using workshop = await openWorkshop([main, security]);
    await using server = await serveFiles(await archive());
    const first = await workshop.prepare(server.url);
    const asked = server.requests.length;
    workshop.clock.nowMs += 7 * hour;
    const second = await workshop.prepare(server.url);
    expect(server.requests.slice(asked).sort()).toEqual([
      'debian-security/dists/trixie-security/InRelease',
      'debian/dists/trixie/InRelease',
    ]);
    expect(second).toEqual({ ...first, downloadedBytes: 0 });
    await workshop.prepare(server.url);
    expect(server.requests.length).toBe(asked + 2);
  });

  test('--refresh finds the newer version at once', async () => {
    await using workshop = await openWorkshop([main]);
    const files = await buildArchive([{ suite: main, packages: [hello, libgreet] }], key);
    await using server = await serveFiles(files, (path, response) => {
      if (!path.endsWith('/InRelease')) return false;
      response.end(files.get(path));
      return true;
    });
    await workshop.prepare(server.url);
    const newer = await buildArchive(
      [
        {
          suite: main,
          packages: [hello, { ...libgreet, version: '1.5-1' }],
          dateMs: archiveDateMs + hour / 2,
        },
      ],
      key,
    );
    for (const [path, bytes] of newer) files.set(path, bytes);
    const versions = async (refresh: boolean) =>
      (await workshop.prepare(server.url, { refresh })).packages.map(({ version }) => version);
    expect(await versions(false)).toEqual(['2.10-3', '1.4-1']);
    expect(await versions(true)).toEqual(['2.10-3', '1.5-1']);
  });

  test('--offline builds from the cache, and names what is not in it', async () => {
    await using workshop = await openWorkshop([main]);
    const dead = 'http://127.0.0.1:1';
    await expect(workshop.prepare(dead, { offline: true })).rejects.toThrow(
      /index of trixie is not in the cache/,
    );
    const files = await buildArchive([{ suite: main, packages: [hello, libgreet] }], key);
    await using server = await serveFiles(files);
    const online = await workshop.prepare(server.url);
    const asked = server.requests.length;
    workshop.clock.nowMs += 100 * hour;
    expect(await workshop.prepare(server.url, { offline: true })).toEqual({ ...online, downloadedBytes: 0 });
    const digest = online.packages[0]?.sha256 ?? '';
    await rm(workshop.cache.blobPath(sha256(digest)));
    await expect(workshop.prepare(server.url, { offline: true })).rejects.toThrow(
      /hello_2\.10-3_amd64\.deb is not in the cache/,
    );
    expect(server.requests.length).toBe(asked);
  });

  test('a lockfile gives exactly the same again, from a mirror that has moved on, without its indexes', async () => {
    const files = await buildArchive([{ suite: main, packages: [hello, libgreet] }], key);
    await using workshop = await openWorkshop([main]);
    await using server = await serveFiles(files);
    const { lock, packages } = await workshop.prepare(server.url);
    const text = encodeLock(lock);
    expect(text).not.toContain('127.0.0.1');

    await using elsewhere = await openWorkshop([main]);
    const moved: ArchiveFiles = new Map(
      [...files].map(([path, bytes]) => [
        path.replace(/^debian\/pool/, 'archive/debian/20260602T000000Z/pool'),
        bytes,
      ]),
    );
    await using later = await serveFiles(moved);
    const again = await elsewhere.prepare(
      later.url,
      { lock: decodeLock(text, 'x.lock.json') },
      { snapshotBase: `${later.url}/archive` },
    );
    expect(again.packages).toEqual(packages);
    expect(encodeLock(again.lock)).toBe(text);
    expect(later.requests.filter((path) => path.includes('/dists/'))).toEqual([]);
  });

  test('a lockfile is trusted by digest: a mirror cannot give something else under the same name', async () => {
    const files = await buildArchive([{ suite: main, packages: [hello, libgreet] }], key);
    await using workshop = await openWorkshop([main]);
    await using server = await serveFiles(files);
    const { lock } = await workshop.prepare(server.url);
    await using elsewhere = await openWorkshop([main]);
    for (const [path, bytes] of files) {
      if (path.includes('hello_')) files.set(path, new Uint8Array(bytes).fill(0x78, 100, 101));
    }
    await expect(elsewhere.prepare(server.url, { lock })).rejects.toThrow(/hello_2\.10-3_amd64\.deb/);
  });

  test('a lockfile for another architecture is refused', async () => {
    await using workshop = await openWorkshop([main]);
    const lock = { format: 1, architecture: 'arm64', suites: [], packages: [], alone: [], npm: [] } as const;
    await expect(workshop.prepare('http://127.0.0.1:1', { lock })).rejects.toThrow(
      /lockfile is for arm64, and the target is for amd64/,
    );
  });

  test('--recheck finds a rotten blob and fetches it again', async () => {
    await using workshop = await openWorkshop([main]);
    await using server = await serveFiles(
      await buildArchive([{ suite: main, packages: [hello, libgreet] }], key),
    );
    const { packages } = await workshop.prepare(server.url);
    const path = workshop.cache.blobPath(sha256(packages[0]?.sha256 ?? ''));
    const bytes = await readFile(path);
    await writeFile(path, Buffer.alloc(bytes.length, 'x'));
    await expect(workshop.list()).rejects.toThrow(/holds/);
    const { downloadedBytes } = await workshop.prepare(server.url, { recheck: true });
    expect(downloadedBytes).toBe(bytes.length);
    await workshop.list();
  });

  test('a Ctrl-C at any request leaves a valid cache, and the next run goes on', async () => {
    const files = await archive();
    for (let stopAt = 1; ; stopAt++) {
      await using workshop = await openWorkshop([main, security]);
      const interrupt = new AbortController();
      let count = 0;
      await using server = await serveFiles(files, (path, response) => {
        if (++count !== stopAt) return false;
        // In the middle of the body.
        const bytes = files.get(path) ?? new Uint8Array(0);
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, bytes.length / 2), () => interrupt.abort());
        return true;
      });
      const outcome = await workshop.prepare(server.url, {}, { signal: interrupt.signal }).then(
        () => 'finished',
        (error: unknown) => (error instanceof Error ? error.name : 'strange'),
      );
      if (outcome === 'finished') {
        expect(stopAt).toBeGreaterThan(5);
        break;
      }
      expect(outcome).toBe('AbortError');
      expect((await workshop.list()).filter((path) => path.startsWith('temporary/'))).toEqual([]);
      expect((await workshop.prepare(server.url)).packages).toHaveLength(2);
    }
  });

  test('two builds at once on one cache do not disturb each other', async () => {
    await using workshop = await openWorkshop([main, security]);
    await using server = await serveFiles(await archive());
    const builds = await Promise.all(Array.from({ length: 4 }, () => workshop.prepare(server.url)));
    const [first] = builds;
    for (const { lock } of builds) expect(lock).toEqual(first?.lock);
    expect((await workshop.list()).filter((path) => path.startsWith('temporary/'))).toEqual([]);
  });

  test('reports progress in bytes and files, up to all of them', async () => {
    await using workshop = await openWorkshop([main]);
    await using server = await serveFiles(
      await buildArchive([{ suite: main, packages: [hello, libgreet] }], key),
    );
    const seen: unknown[] = [];
    const { packages } = await workshop.prepare(server.url, {}, { onProgress: (state) => seen.push(state) });
    const totalBytes = packages.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    expect(seen).toContainEqual({ phase: 'resolve' });
    expect(seen.at(-1)).toEqual({
      phase: 'download',
      doneBytes: totalBytes,
      totalBytes,
      doneFiles: 2,
      totalFiles: 2,
    });
  });

  test('reads the indexes of architecture all where a suite keeps them apart', async () => {
    await using workshop = await openWorkshop([main]);
    const files = await buildArchive(
      [
        {
          suite: main,
          packages: [hello, { ...libgreet, architecture: 'all' }],
          release: { 'No-Support-for-Architecture-all': 'Contents' },
        },
      ],
      key,
    );
    await using server = await serveFiles(files);
    await expect(workshop.prepare(server.url)).rejects.toThrow(
      /trixie has no index main\/binary-all\/Packages/,
    );
  });
});
