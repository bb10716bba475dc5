/**
 * Packages indexes (deb822 stanzas, https://wiki.debian.org/DebianRepository/Format). Trixie's has 57 MB
 * and 69,000 packages, of which an image needs a hundred: so it is read as a stream of bytes, each stanza
 * is cut down to the lines used here, and becomes a record only when somebody asks for it.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';
import { parseControlFile } from './control-file.ts';

export interface PackageRecord {
  readonly name: string;
  readonly version: string;
  /** The target's, or `all`. */
  readonly architecture: string;
  /** The source package and its version, for the bill of materials. */
  readonly source: string;
  readonly sourceVersion: string;
  /** Below the archive's root: `pool/main/p/postfix/postfix_3.10.5-1_amd64.deb`. */
  readonly filename: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** What dpkg expects on disk; 0 when not given. */
  readonly installedBytes: number;
  readonly priority: string;
  /** Dependency fields as written; empty when there is none. */
  readonly preDepends: string;
  readonly depends: string;
  readonly provides: string;
  readonly conflicts: string;
  readonly breaks: string;
}

/** The longest stanza of trixie (librust-winapi-dev) has 80 KB. */
const maxStanzaBytes = 1024 * 1024;
/** Four times what trixie has. */
const maxStanzas = 300_000;

const lineFeed = 0x0a;
const space = 0x20;
const tab = 0x09;

const wantedFields = [
  'Package',
  'Version',
  'Architecture',
  'Source',
  'Filename',
  'Size',
  'SHA256',
  'Installed-Size',
  'Priority',
  'Pre-Depends',
  'Depends',
  'Provides',
  'Conflicts',
  'Breaks',
].map((name) => Buffer.from(`${name}:`));

/** One stanza, with only the lines that a record is made of. */
export interface PackageStanza {
  readonly name: string;
  readonly text: string;
}

/**
 * Reads the stanzas of a Packages index.
 * @param subject names the index in errors
 * @throws ProtocolError when a stanza has no name, or there is no end to them
 */
export async function* readPackageStanzas(
  chunks: AsyncIterable<Uint8Array>,
  subject: string,
): AsyncGenerator<PackageStanza> {
  let pending: Buffer = Buffer.alloc(0);
  let count = 0;
  const cut = (stanza: Buffer): PackageStanza => {
    if (++count > maxStanzas) throw new ProtocolError(`${subject} has more than ${maxStanzas} packages`);
    const text = cutDown(stanza);
    const name = /^Package: ?(\S+)$/m.exec(text)?.[1];
    if (name === undefined)
      throw new ProtocolError(`${subject} has a stanza without Package (number ${count})`);
    return { name, text };
  };
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const joined = pending.length === 0 ? bytes : Buffer.concat([pending, bytes]);
    let start = 0;
    for (;;) {
      while (joined[start] === lineFeed) start++;
      const end = joined.indexOf('\n\n', start, 'latin1');
      if (end < 0) break;
      yield cut(joined.subarray(start, end));
      start = end + 1;
    }
    // A copy, since the producer may use the chunk's memory again.
    pending = Buffer.from(joined.subarray(start));
    if (pending.length > maxStanzaBytes) {
      throw new ProtocolError(`${subject} has a stanza of more than ${maxStanzaBytes} bytes`);
    }
  }
  if (pending.some((byte) => byte !== lineFeed)) yield cut(pending);
}

/** The wanted lines of a stanza. Decoded as Latin-1: they are ASCII, and what is not is refused later. */
function cutDown(stanza: Buffer): string {
  const lines = Buffer.allocUnsafe(stanza.length + 1);
  let kept = 0;
  let isWanted = false;
  for (let start = 0; start < stanza.length;) {
    const found = stanza.indexOf(lineFeed, start);
    const end = found < 0 ? stanza.length : found;
    if (stanza[start] !== space && stanza[start] !== tab) {
      // Compared as bytes before anything is decoded: most lines are of no use.
      isWanted = wantedFields.some(
        (field) => stanza[start] === field[0] && field.compare(stanza, start, start + field.length) === 0,
      );
    }
    if (isWanted) {
      kept += stanza.copy(lines, kept, start, end);
      lines[kept++] = lineFeed;
    }
    start = end + 1;
  }
  return lines.toString('latin1', 0, kept);
}

/**
 * Makes a record of a stanza.
 * @throws ProtocolError when a field is missing or malformed
 */
export function parseRecord({ name, text }: PackageStanza): PackageRecord {
  const fields = parseControlFile(text)[0] ?? new Map<string, string>();
  const required = (field: string, pattern: RegExp): string => {
    const value = fields.get(field.toLowerCase());
    if (value === undefined) throw new ProtocolError(`The package ${name} has no ${field} in its index`);
    if (pattern.test(value)) return value;
    throw new ProtocolError(`The package ${name} has a malformed ${field}: ${JSON.stringify(value)}`);
  };
  const optional = (field: string): string => (fields.get(field) ?? '').replace(/\s*\n\s*/g, ' ');
  const filename = required('Filename', /^\S+$/);
  if (!isPlainPath(filename)) {
    throw new ProtocolError(
      `The package ${name} has a Filename that leads elsewhere: ${JSON.stringify(filename)}`,
    );
  }
  const version = required('Version', /^[A-Za-z0-9.+~:-]+$/);
  const source = /^(\S+)(?: \(([^)]+)\))?$/.exec(optional('source'));
  return {
    name: required('Package', /^[a-z0-9][a-z0-9+.-]{0,127}$/),
    version,
    architecture: required('Architecture', /^[a-z0-9-]+$/),
    source: source?.[1] ?? name,
    sourceVersion: source?.[2] ?? version,
    filename,
    sizeBytes: Number(required('Size', /^\d{1,11}$/)),
    sha256: required('SHA256', /^[0-9a-f]{64}$/),
    // In KiB (deb-control(5)).
    installedBytes: Number(/^\d{1,9}$/.exec(optional('installed-size'))?.[0] ?? 0) * 1024,
    priority: optional('priority'),
    preDepends: optional('pre-depends'),
    depends: optional('depends'),
    provides: optional('provides'),
    conflicts: optional('conflicts'),
    breaks: optional('breaks'),
  };
}

/** The Provides field of a stanza that was not parsed yet, or nothing. */
export function providesOf({ text }: PackageStanza): string {
  return /^Provides:(.*(?:\n[ \t].*)*)/m.exec(text)?.[1] ?? '';
}

/** A relative path that stays where it is put. */
export function isPlainPath(path: string): boolean {
  return (
    path.length <= 512 &&
    /^[A-Za-z0-9][A-Za-z0-9._+~:%/-]*$/.test(path) &&
    !path.split('/').some((part) => part === '' || part === '.' || part === '..')
  );
}
