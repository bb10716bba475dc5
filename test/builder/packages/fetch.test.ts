import { createHash } from 'node:crypto';
import { createServer, request as httpRequest, type ServerResponse } from 'node:http';
import { mkdtempDisposable, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type BlobClaim, sha256 } from '../../../builder/packages/blob.ts';
import { PackageCache } from '../../../builder/packages/cache.ts';
import { fetchBlob, type FetchContext, fetchText } from '../../../builder/packages/fetch.ts';
import { useProxyOf } from '../../../builder/packages/proxy.ts';
import { type Interference, serveFiles } from '../../fakes/debian-archive.ts';
import { fixedClock } from '../../fakes/package-workshop.ts';

const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 251));
const claim: BlobClaim = {
  digest: sha256(createHash('sha256').update(bytes).digest('hex')),
  sizeBytes: bytes.length,
  subject: 'big.deb',
};

async function setUp(interfere?: Interference) {
  const temporary = await mkdtempDisposable(join(tmpdir(), 'chatmail-build-test-'));
  const cache = await PackageCache.open(temporary.path, Date.now());
  const server = await serveFiles(new Map([['big.deb', bytes]]), interfere);
  const clock = fixedClock();
  const context: FetchContext = { signal: AbortSignal.timeout(10_000), clock, stallTimeoutMs: 200 };
  return {
    cache,
    server,
    clock,
    context,
    url: `${server.url}/big.deb`,
    leftovers: () => readdir(cache.path('temporary')),
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await temporary[Symbol.asyncDispose]();
    },
  };
}

/** Sends `count` bytes of the file and breaks the connection. */
function breakOff(response: ServerResponse, count: number): true {
  response.writeHead(200, { 'content-length': bytes.length });
  response.write(bytes.subarray(0, count), () => setImmediate(() => response.destroy()));
  return true;
}

describe('fetchBlob', () => {
  test('resumes where a connection broke off', async () => {
    let count = 0;
    const ranges: (string | undefined)[] = [];
    await using it = await setUp((_, response, request) => {
      ranges.push(request.headers.range);
      return ++count === 1 ? breakOff(response, 100_000) : false;
    });
    expect(await fetchBlob(it.cache, claim, [it.url], it.context)).toBe(bytes.length);
    expect(ranges[0]).toBeUndefined();
    expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
    expect(it.clock.sleepsMs).toEqual([500]);
    expect(await readFile(it.cache.blobPath(claim.digest))).toEqual(bytes);
  });

  test('starts over when the server does not resume', async () => {
    let count = 0;
    await using it = await setUp((_, response) => {
      if (++count === 1) return breakOff(response, 100_000);
      response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
      return true;
    });
    await fetchBlob(it.cache, claim, [it.url], it.context);
    expect(await readFile(it.cache.blobPath(claim.digest))).toEqual(bytes);
  });

  test('breaks off and resumes what stands still', async () => {
    let count = 0;
    await using it = await setUp((_, response) => {
      if (++count > 1) return false;
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, 1000));
      return true;
    });
    await fetchBlob(it.cache, claim, [it.url], it.context);
    expect(it.server.requests).toHaveLength(2);
  });

  test('gives up on a server that never answers, naming it and what to do', async () => {
    await using it = await setUp(() => true);
    const failure = fetchBlob(it.cache, claim, [it.url], { ...it.context, stallTimeoutMs: 20 });
    await expect(failure).rejects.toMatchObject({
      code: 'network',
      message: expect.stringMatching(/^big\.deb cannot be downloaded from 127\.0\.0\.1:\d+: nothing arrived/),
      fix: expect.stringMatching(/--mirror URL.*--offline/),
    });
    expect(it.clock.sleepsMs).toEqual([500, 1000, 2000, 4000]);
    expect(await it.leftovers()).toEqual([]);
  });

  test.each([500, 503, 429, 408])('tries again after a %i', async (status) => {
    let count = 0;
    await using it = await setUp((_, response) => {
      if (++count > 2) return false;
      response.writeHead(status).end();
      return true;
    });
    await fetchBlob(it.cache, claim, [it.url], it.context);
    expect(it.server.requests).toHaveLength(3);
  });

  test.each([401, 403, 418])('does not try again after a %i', async (status) => {
    await using it = await setUp((_, response) => {
      response.writeHead(status).end();
      return true;
    });
    await expect(fetchBlob(it.cache, claim, [it.url], it.context)).rejects.toThrow(`answered ${status}`);
    expect(it.server.requests).toHaveLength(1);
  });

  test('never tries again what arrived wrong', async () => {
    await using it = await setUp((_, response) => {
      response.end(Buffer.alloc(bytes.length));
      return true;
    });
    await expect(fetchBlob(it.cache, claim, [it.url], it.context)).rejects.toMatchObject({
      code: 'integrity',
    });
    expect(it.server.requests).toHaveLength(1);
    expect(await it.leftovers()).toEqual([]);
  });

  test('goes on to the next mirror when one lacks the file or is not there', async () => {
    await using it = await setUp();
    const urls = ['http://127.0.0.1:1/big.deb', `${it.server.url}/other.deb`, it.url];
    await fetchBlob(it.cache, claim, urls, it.context);
    expect(await it.cache.hasBlob(claim)).toBe(true);
  });

  test('names every mirror when none has it', async () => {
    await using it = await setUp();
    const urls = ['http://127.0.0.1:1/big.deb', `${it.server.url}/other.deb`];
    await expect(fetchBlob(it.cache, claim, urls, it.context)).rejects.toThrow(
      /from 127\.0\.0\.1:1: .*; big\.deb is not on 127\.0\.0\.1:\d+/,
    );
  });

  test('does not wait for a host that refuses', async () => {
    await using it = await setUp();
    await it.server[Symbol.asyncDispose]();
    await expect(fetchBlob(it.cache, claim, [it.url], it.context)).rejects.toThrow(
      /127\.0\.0\.1:\d+: the connection was refused/,
    );
    expect(it.clock.sleepsMs).toEqual([]);
  });

  test('does not follow redirects round and round', async () => {
    await using it = await setUp((_, response) => {
      response.writeHead(301, { location: '/big.deb' }).end();
      return true;
    });
    await expect(fetchBlob(it.cache, claim, [it.url], it.context)).rejects.toThrow(/redirects to \/big.deb/);
  });

  test('ends at once when told to, and leaves nothing', async () => {
    const interrupt = new AbortController();
    await using it = await setUp((_, response) => {
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, 1000), () => interrupt.abort());
      return true;
    });
    const context = { ...it.context, signal: interrupt.signal, stallTimeoutMs: 30_000 };
    await expect(fetchBlob(it.cache, claim, [it.url], context)).rejects.toMatchObject({ name: 'AbortError' });
    expect(await it.leftovers()).toEqual([]);
    expect(await it.cache.hasBlob(claim)).toBe(false);
  });

  test('reads from a file: mirror', async () => {
    await using it = await setUp();
    const path = join(it.cache.directory, 'big one+1.deb');
    await writeFile(path, bytes);
    await fetchBlob(it.cache, claim, [pathToFileURL(path).href], it.context);
    expect(await it.cache.hasBlob(claim)).toBe(true);
    const missing = { ...claim, digest: sha256('0'.repeat(64)) };
    await expect(
      fetchBlob(it.cache, missing, [pathToFileURL(`${path}x`).href], it.context),
    ).rejects.toMatchObject({ code: 'not-found' });
  });

  test('sends the password of a URL as apt does, and follows redirects', async () => {
    const seen: (string | undefined)[] = [];
    await using it = await setUp((path, response, request) => {
      seen.push(request.headers.authorization);
      if (path !== 'moved') return false;
      response.writeHead(302, { location: '/big.deb' }).end();
      return true;
    });
    const url = `${it.server.url.replace('http://', 'http://me:p%40ss@')}/moved`;
    await fetchBlob(it.cache, claim, [url], it.context);
    expect(seen[0]).toBe(`Basic ${Buffer.from('me:p@ss').toString('base64')}`);
    expect(await it.cache.hasBlob(claim)).toBe(true);
  });

  test('takes the bytes as they are, even if the server calls them encoded', async () => {
    await using it = await setUp((_, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(bytes);
      return true;
    });
    await fetchBlob(it.cache, claim, [it.url], it.context);
    expect(await it.cache.hasBlob(claim)).toBe(true);
  });
});

describe('fetchText', () => {
  test('takes no more than it was told', async () => {
    await using it = await setUp();
    const options = { subject: 'InRelease', maxBytes: 1000 };
    await expect(fetchText(it.url, options, it.context)).rejects.toThrow(/at most 1000 bytes/);
  });
});

describe('useProxyOf', () => {
  test('sends downloads through the proxy of the environment, until disposed', async () => {
    const proxied: string[] = [];
    const proxy = createServer((request, response) => {
      proxied.push(request.url ?? '');
      httpRequest(request.url ?? '', { headers: request.headers, agent: false }, (upstream) => {
        response.writeHead(upstream.statusCode ?? 500, upstream.headers);
        upstream.pipe(response);
      }).end();
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const address = proxy.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    await using it = await setUp();
    {
      using _proxy = useProxyOf({ http_proxy: `http://127.0.0.1:${port}` });
      // As a plain request: proxies grant tunnels to port 443 only.
      await fetchBlob(it.cache, claim, [it.url], it.context);
    }
    expect(proxied).toEqual([it.url]);
    await rm(it.cache.blobPath(claim.digest));
    await fetchBlob(it.cache, claim, [it.url], it.context);
    expect(proxied).toEqual([it.url]);
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  });
});
