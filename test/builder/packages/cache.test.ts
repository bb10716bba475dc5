import { createHash } from 'node:crypto';
import { chmod, mkdtempDisposable, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sha256 } from '../../../builder/packages/blob.ts';
import { defaultCacheDirectory } from '../../../builder/packages/cache-directory.ts';
import { PackageCache } from '../../../builder/packages/cache.ts';

const bytes = Buffer.from('some bytes of a package');
const digest = sha256(createHash('sha256').update(bytes).digest('hex'));
const claim = { digest, sizeBytes: bytes.length, subject: 'a.deb' };

async function openCache() {
  const temporary = await mkdtempDisposable(join(tmpdir(), 'chatmail-build-test-'));
  const cache = await PackageCache.open(join(temporary.path, 'deep', 'cache'), Date.now());
  return {
    cache,
    temporaries: () => readdir(cache.path('temporary')),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

describe('PackageCache', () => {
  test('keeps a blob under its digest, and finds it again', async () => {
    await using it = await openCache();
    expect(await it.cache.hasBlob(claim)).toBe(false);
    const size = await it.cache.storeBlob(claim, async (sink) => {
      await sink.write(bytes.subarray(0, 5));
      await sink.write(bytes.subarray(5));
    });
    expect(size).toBe(bytes.length);
    expect(await it.cache.hasBlob(claim)).toBe(true);
    expect(await readFile(it.cache.blobPath(digest))).toEqual(bytes);
    expect(await it.cache.storeBytes(bytes, 'again')).toBe(digest.hex);
    expect(await it.temporaries()).toEqual([]);
  });

  test('forgets what was written before a restart', async () => {
    await using it = await openCache();
    await it.cache.storeBlob(claim, async (sink) => {
      await sink.write(Buffer.from('wrong beginning'));
      await sink.restart();
      await sink.write(bytes);
    });
    expect(await readFile(it.cache.blobPath(digest))).toEqual(bytes);
  });

  test.each([
    ['other bytes of the same size', Buffer.alloc(bytes.length), /expected sha256 .*found sha256/],
    ['less', bytes.subarray(1), /expected 23 bytes, found 22 bytes/],
    ['more', Buffer.concat([bytes, bytes]), /larger than declared: expected 23 bytes/],
  ])('refuses %s and keeps nothing', async (_, wrong, message) => {
    await using it = await openCache();
    await expect(it.cache.storeBlob(claim, (sink) => sink.write(wrong))).rejects.toThrow(message);
    expect(await it.cache.hasBlob(claim)).toBe(false);
    expect(await it.temporaries()).toEqual([]);
  });

  test('a blob whose size changed does not count, and a recheck removes one whose bytes changed', async () => {
    await using it = await openCache();
    const store = () => it.cache.storeBlob(claim, (sink) => sink.write(bytes));
    const signal = AbortSignal.timeout(5000);
    await store();
    expect(await it.cache.recheckBlob(digest, signal)).toBe(true);
    await writeFile(it.cache.blobPath(digest), bytes.subarray(1));
    expect(await it.cache.hasBlob(claim)).toBe(false);
    await store();
    await writeFile(it.cache.blobPath(digest), Buffer.alloc(bytes.length));
    expect(await it.cache.recheckBlob(digest, signal)).toBe(false);
    expect(await it.cache.blobSize(digest)).toBeUndefined();
  });

  test('sweeps what an interrupted build left an hour ago, and nothing younger', async () => {
    await using it = await openCache();
    const [old, young] = [it.cache.path('temporary/old'), it.cache.path('temporary/young')];
    await writeFile(old, 'x');
    await writeFile(young, 'x');
    const nowMs = Date.now();
    await utimes(old, nowMs / 1000 - 4000, nowMs / 1000 - 4000);
    await PackageCache.open(it.cache.directory, nowMs);
    expect(await it.temporaries()).toEqual(['young']);
  });

  test('documents that are missing or damaged read as nothing', async () => {
    await using it = await openCache();
    expect(await it.cache.readDocument('x/y.json')).toBeUndefined();
    await it.cache.writeDocument('x/y.json', { a: 1 });
    expect(await it.cache.readDocument('x/y.json')).toEqual({ a: 1 });
    await writeFile(it.cache.path('x/y.json'), '{"a":');
    expect(await it.cache.readDocument('x/y.json')).toBeUndefined();
  });

  test('says what to do about a full disk', async () => {
    await using it = await openCache();
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    await expect(
      it.cache.storeBlob(claim, async () => {
        throw full;
      }),
    ).rejects.toMatchObject({ code: 'disk-full', fix: expect.stringContaining('CHATMAIL_BUILD_CACHE') });
    expect(await it.temporaries()).toEqual([]);
  });

  test.skipIf(process.getuid?.() === 0 || process.platform === 'win32')(
    'says what to do about a cache that cannot be written',
    async () => {
      await using it = await openCache();
      await chmod(it.cache.path('temporary'), 0o500);
      await expect(it.cache.storeBytes(bytes, 'x')).rejects.toMatchObject({ code: 'not-writable' });
      await chmod(it.cache.path('temporary'), 0o700);
    },
  );

  test('is marked as a cache for backup programs', async () => {
    await using it = await openCache();
    expect(await readFile(it.cache.path('CACHEDIR.TAG'), 'utf8')).toMatch(
      /^Signature: 8a477f597d28d172789f06886806bc55\n/,
    );
  });
});

describe('defaultCacheDirectory', () => {
  test.each([
    ['linux', {}, '/home/me', '/home/me/.cache/chatmail-build'],
    ['linux', { XDG_CACHE_HOME: '/var/cache/me' }, '/home/me', '/var/cache/me/chatmail-build'],
    ['linux', { XDG_CACHE_HOME: 'relative' }, '/home/me', '/home/me/.cache/chatmail-build'],
    ['darwin', {}, '/Users/me', '/Users/me/Library/Caches/chatmail-build'],
    ['win32', { LOCALAPPDATA: 'D:\\Local' }, 'C:\\Users\\me', 'D:\\Local\\chatmail-build\\Cache'],
    ['win32', {}, 'C:\\Users\\me', 'C:\\Users\\me\\AppData\\Local\\chatmail-build\\Cache'],
  ] as const)('on %s with %j', (platform, env, homeDirectory, expected) => {
    expect(defaultCacheDirectory({ platform, env, homeDirectory })).toBe(expected);
  });
});
