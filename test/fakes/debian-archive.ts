/**
 * A small Debian archive made on the spot: packages, indexes and an InRelease signed with a key of its own,
 * as files by path; and a loopback HTTP server that hands them out, honestly or not.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { createCleartextMessage, generateKey, type PrivateKey, readPrivateKey, sign } from 'openpgp';
import type { PinnedKey } from '../../builder/packages/keyring.ts';
import type { Suite } from '../../builder/packages/suites.ts';

/** 2026-06-01, long after the keys were made and long before anything of it expires. */
export const archiveDateMs = Date.UTC(2026, 5, 1, 12);

export interface SigningKey {
  readonly secret: PrivateKey;
  readonly pinned: PinnedKey;
}

export async function makeSigningKey(
  name: string,
  options: { readonly date?: Date; readonly expiresAfterSec?: number } = {},
): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKey({
    type: 'ecc',
    curve: 'ed25519Legacy',
    userIDs: [{ name, email: 'archive@example.org' }],
    date: options.date ?? new Date(archiveDateMs - 86_400_000 * 365),
    keyExpirationTime: options.expiresAfterSec ?? 0,
    format: 'armored',
  });
  const secret = await readPrivateKey({ armoredKey: privateKey });
  return { secret, pinned: { fingerprint: secret.getFingerprint(), armored: publicKey } };
}

export interface FakePackage {
  readonly name: string;
  readonly version: string;
  readonly architecture?: string;
  /** Further control fields: `{ Depends: 'libc6 (>= 2.38)' }`. */
  readonly fields?: Readonly<Record<string, string>>;
  /** Contents by path; a directory ends in a slash. */
  readonly files?: Readonly<Record<string, string>>;
}

export interface FakeSuite {
  readonly suite: Suite;
  readonly packages: readonly FakePackage[];
  readonly dateMs?: number;
  readonly validUntilMs?: number | null;
  /** Replaces or adds lines of the Release. */
  readonly release?: Readonly<Record<string, string>>;
  readonly signedBy?: SigningKey;
}

/** File contents by path below the server's root. */
export type ArchiveFiles = Map<string, Uint8Array>;

export function makeSuite(
  name: string,
  key: SigningKey,
  overrides: Partial<Suite> = {},
): Suite & { readonly keys: readonly [PinnedKey] } {
  return {
    name,
    archive: 'debian',
    codename: name,
    label: 'Debian',
    suiteFields: ['stable'],
    validUntil: 'required',
    ...overrides,
    keys: [key.pinned],
  };
}

/** The archive's files: `debian/dists/…`, `debian/pool/…`. */
export async function buildArchive(suites: readonly FakeSuite[], key: SigningKey): Promise<ArchiveFiles> {
  const files: ArchiveFiles = new Map();
  for (const fake of suites) {
    const { suite, packages } = fake;
    const root = suite.archive;
    const stanzas: string[] = [];
    for (const item of packages) {
      const deb = makeDeb(item);
      const { name, version, architecture = 'amd64' } = item;
      const path = `pool/main/${name[0]}/${name}/${name}_${version.replace(/^\d+:/, '')}_${architecture}.deb`;
      files.set(`${root}/${path}`, deb);
      stanzas.push(
        controlText(item) +
          `Filename: ${path}\nSize: ${deb.length}\nSHA256: ${hexSha256(deb)}\nDescription: a package\n more of it\n`,
      );
    }
    const indexes = new Map<string, Uint8Array>();
    for (const architecture of ['amd64', 'arm64']) {
      const text = new TextEncoder().encode(stanzas.join('\n'));
      indexes.set(`main/binary-${architecture}/Packages`, text);
      indexes.set(`main/binary-${architecture}/Packages.gz`, gzipSync(text));
    }
    const directory = `${root}/dists/${suite.name}`;
    for (const [path, bytes] of indexes) {
      files.set(`${directory}/${path}`, bytes);
      files.set(`${directory}/${path.replace(/[^/]+$/, '')}by-hash/SHA256/${hexSha256(bytes)}`, bytes);
    }
    const text = releaseText(fake, indexes);
    files.set(`${directory}/InRelease`, await clearsign(text, fake.signedBy ?? key, dateOf(fake)));
  }
  return files;
}

function dateOf({ dateMs = archiveDateMs }: FakeSuite): Date {
  return new Date(dateMs);
}

export async function clearsign(text: string, key: SigningKey, date: Date): Promise<Uint8Array> {
  const message = await createCleartextMessage({ text });
  return new TextEncoder().encode(await sign({ message, signingKeys: key.secret, date }));
}

function releaseText(fake: FakeSuite, indexes: ReadonlyMap<string, Uint8Array>): string {
  const { suite, dateMs = archiveDateMs, validUntilMs = archiveDateMs + 7 * 86_400_000 } = fake;
  const fields: Record<string, string> = {
    Origin: 'Debian',
    Label: suite.label,
    Suite: suite.suiteFields[0] ?? '',
    Codename: suite.codename,
    Date: dateText(dateMs),
    ...(validUntilMs !== null && { 'Valid-Until': dateText(validUntilMs) }),
    'Acquire-By-Hash': 'yes',
    'No-Support-for-Architecture-all': 'Packages',
    Architectures: 'all amd64 arm64',
    Components: 'main',
    ...fake.release,
  };
  const list = [...indexes].map(([path, bytes]) => ` ${hexSha256(bytes)} ${bytes.length} ${path}\n`);
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`);
  return `${lines.join('')}SHA256:\n${list.join('')}`;
}

function dateText(milliseconds: number): string {
  return new Date(milliseconds).toUTCString().replace('GMT', 'UTC');
}

function controlText({ name, version, architecture = 'amd64', fields = {} }: FakePackage): string {
  const all = {
    Package: name,
    Version: version,
    Architecture: architecture,
    'Installed-Size': '4',
    ...fields,
  };
  return Object.entries(all)
    .map(([field, value]) => `${field}: ${value}\n`)
    .join('');
}

/** A binary package (deb(5)). */
export function makeDeb(item: FakePackage): Uint8Array {
  const files = item.files ?? { 'usr/': '', [`usr/${item.name}`]: `${item.name} ${item.version}\n` };
  return makeAr([
    ['debian-binary', Buffer.from('2.0\n')],
    ['control.tar.gz', gzipSync(makeTar({ control: controlText(item) }))],
    ['data.tar.gz', gzipSync(makeTar(files))],
  ]);
}

function makeAr(members: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const parts: Uint8Array[] = [Buffer.from('!<arch>\n')];
  for (const [name, bytes] of members) {
    const header = `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(bytes.length).padEnd(10)}\`\n`;
    parts.push(Buffer.from(header), bytes);
    if (bytes.length % 2 === 1) parts.push(Buffer.from('\n'));
  }
  return Buffer.concat(parts);
}

/** A ustar archive (POSIX.1-1988) of regular files and directories. */
export function makeTar(files: Readonly<Record<string, string>>): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const [path, text] of Object.entries(files)) {
    const isDirectory = path.endsWith('/');
    const content = Buffer.from(text);
    const header = Buffer.alloc(512);
    const put = (offset: number, value: string) => header.write(value, offset, 'latin1');
    put(0, `./${path}`);
    put(100, isDirectory ? '0000755\0' : '0000644\0');
    put(108, '0000000\0');
    put(116, '0000000\0');
    put(124, `${content.length.toString(8).padStart(11, '0')}\0`);
    put(136, '00000000000\0');
    put(148, '        ');
    put(156, isDirectory ? '5' : '0');
    put(257, 'ustar\x0000');
    const sum = header.reduce((total, byte) => total + byte, 0);
    put(148, `${sum.toString(8).padStart(6, '0')}\0 `);
    blocks.push(header, content, Buffer.alloc((512 - (content.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

export function hexSha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export interface FakeServer extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  /** Paths asked for, in order, without the first slash. */
  readonly requests: readonly string[];
}

/** Answers a request itself and returns true, or leaves it to the files. */
export type Interference = (path: string, response: ServerResponse, request: IncomingMessage) => boolean;

/** Serves `files` on loopback, with Range and If-Modified-Since as real mirrors have them. */
export async function serveFiles(files: ArchiveFiles, interfere?: Interference): Promise<FakeServer> {
  const requests: string[] = [];
  const modified = new Date(archiveDateMs).toUTCString();
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '').slice(1));
    requests.push(path);
    if (interfere?.(path, response, request) === true) return;
    const bytes = files.get(path);
    if (bytes === undefined) {
      response.writeHead(404).end();
      return;
    }
    if (request.headers['if-modified-since'] === modified) {
      response.writeHead(304).end();
      return;
    }
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const headers = { 'last-modified': modified, 'content-length': bytes.length - start };
    if (start === 0) response.writeHead(200, headers);
    else {
      response.writeHead(206, {
        ...headers,
        'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
      });
    }
    response.end(bytes.subarray(start));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('The server has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
