/**
 * What one entry of a tar archive means: its header, and the extended headers (pax x, GNU L and K) in front
 * of it, as an entry of a tree. Paths are made plain and must stay inside.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';
import { decodePaxRecords, type TarHeader } from './tar-header.ts';
import type { Content, TreeEntry } from './tree.ts';
import { maxNameBytes, maxPathBytes } from './tree-order.ts';

/** What extended headers say about the entry that follows them. */
export interface TarExtensions {
  readonly path?: string;
  readonly linkPath?: string;
  readonly sizeBytes?: number;
  readonly mtimeSec?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** Whether an entry of this type only says something about others. */
export function isExtension(type: string): boolean {
  return type === 'x' || type === 'g' || type === 'L' || type === 'K';
}

/**
 * What the extended header with these bytes adds. A pax header outranks GNU's, as in GNU tar.
 * @throws ProtocolError, with a message to put behind the name of the entry
 */
export function decodeExtension(type: string, bytes: Uint8Array, before: TarExtensions): TarExtensions {
  if (type === 'L') return { path: decodeLongName(bytes), ...before };
  if (type === 'K') return { linkPath: decodeLongName(bytes), ...before };
  const records = decodePaxRecords(bytes);
  for (const key of records.keys()) {
    if (key.startsWith('GNU.sparse.')) throw new ProtocolError('sparse files are not supported');
  }
  const charset = records.get('hdrcharset') ?? '';
  if (charset !== '' && charset !== 'ISO-IR 10646 2000 UTF-8') {
    throw new ProtocolError(`names in ${JSON.stringify(charset)} are not supported`);
  }
  if (type === 'g') return assertHarmless(records, before);
  const path = records.get('path');
  const linkPath = records.get('linkpath');
  return {
    ...before,
    ...(path ? { path } : {}),
    ...(linkPath ? { linkPath } : {}),
    ...paxNumber(records, 'size', 'sizeBytes'),
    ...paxNumber(records, 'uid', 'uid'),
    ...paxNumber(records, 'gid', 'gid'),
    ...paxNumber(records, 'mtime', 'mtimeSec'),
  };
}

/** Global headers are seen with a comment (git archive); none that changes entries is supported. */
function assertHarmless(records: ReadonlyMap<string, string>, before: TarExtensions): TarExtensions {
  for (const key of ['path', 'linkpath', 'size', 'uid', 'gid', 'mtime']) {
    if (records.has(key)) throw new ProtocolError(`a global extended header with "${key}" is not supported`);
  }
  return before;
}

function paxNumber(
  records: ReadonlyMap<string, string>,
  key: string,
  field: keyof TarExtensions,
): TarExtensions {
  const text = records.get(key) ?? '';
  // POSIX pax: an empty value takes the record back.
  if (text === '') return {};
  const isTime = field === 'mtimeSec';
  const value = Math.floor(Number(text));
  if (!(isTime ? /^-?[0-9]+(\.[0-9]*)?$/ : /^[0-9]+$/).test(text) || !Number.isSafeInteger(value)) {
    throw new ProtocolError(`pax record ${key} is ${JSON.stringify(text.slice(0, 40))}`);
  }
  return { [field]: value };
}

function decodeLongName(bytes: Uint8Array): string {
  return decodeName(bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes);
}

/**
 * The entry as part of a tree; `content` makes the content of a file.
 * @throws ProtocolError, with a message to put behind the name of the entry
 */
export function toTreeEntry(header: TarHeader, extensions: TarExtensions, content: () => Content): TreeEntry {
  const name = extensions.path ?? decodeName(header.name);
  const linkName = extensions.linkPath ?? decodeName(header.linkName);
  const common = {
    path: plainPath(name, 'name'),
    // v7 archives keep the file type in the mode as well.
    mode: header.mode & 0o7777,
    uid: userNumber(extensions.uid ?? header.uid, 'uid'),
    gid: userNumber(extensions.gid ?? header.gid, 'gid'),
    mtimeSec: extensions.mtimeSec ?? header.mtimeSec,
  };
  const kind = kindOf(header.type, name);
  if (common.path === '' && kind !== 'directory') throw new ProtocolError(`the root is a ${kind}`);
  const sizeBytes = extensions.sizeBytes ?? header.sizeBytes;
  if (kind !== 'file' && sizeBytes !== 0)
    throw new ProtocolError(`a ${kind} with ${sizeBytes} bytes of data`);
  switch (kind) {
    case 'file':
      return { ...common, kind, content: content() };
    case 'hardlink':
      return { ...common, kind, target: plainPath(linkName, 'link target') };
    case 'symlink':
      return { ...common, kind, target: symlinkTarget(linkName) };
    case 'character':
    case 'block':
      return { ...common, kind, major: header.major, minor: header.minor };
    default:
      return { ...common, kind };
  }
}

function kindOf(type: string, name: string): Exclude<TreeEntry['kind'], 'socket'> {
  switch (type) {
    case '0':
    // "Contiguous" file of POSIX, an ordinary one for everybody.
    case '7':
      return name.endsWith('/') ? 'directory' : 'file';
    case '1':
      return 'hardlink';
    case '2':
      return 'symlink';
    case '3':
      return 'character';
    case '4':
      return 'block';
    case '5':
      return 'directory';
    case '6':
      return 'fifo';
    default:
      throw new ProtocolError(`type ${JSON.stringify(type)} is not supported`);
  }
}

function decodeName(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new ProtocolError('a name that is not UTF-8', { cause: error });
  }
}

/** A path without `.` and empty parts, which must be relative and may not climb. */
function plainPath(name: string, field: string): string {
  const shown = JSON.stringify(name.slice(0, 200));
  if (name === '') throw new ProtocolError(`an empty ${field}`);
  if (name.startsWith('/')) throw new ProtocolError(`the ${field} ${shown} is absolute`);
  if (name.includes('\0')) throw new ProtocolError(`the ${field} ${shown} contains a NUL`);
  if (Buffer.byteLength(name) > maxPathBytes) {
    throw new ProtocolError(`the ${field} ${shown}… is longer than ${maxPathBytes} bytes`);
  }
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  for (const part of parts) {
    if (part === '..') throw new ProtocolError(`the ${field} ${shown} leads outside`);
    if (Buffer.byteLength(part) > maxNameBytes) {
      throw new ProtocolError(`the ${field} ${shown}… has a part longer than ${maxNameBytes} bytes`);
    }
  }
  return parts.join('/');
}

function symlinkTarget(target: string): string {
  if (target === '' || target.includes('\0') || Buffer.byteLength(target) > maxPathBytes) {
    throw new ProtocolError(
      `a link target that is empty, longer than ${maxPathBytes} bytes or contains a NUL`,
    );
  }
  return target;
}

function userNumber(value: number, field: string): number {
  if (value < 0 || value > 0xffffffff) throw new ProtocolError(`${field} is ${value}, not a 32-bit number`);
  return value;
}
