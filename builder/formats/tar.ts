/**
 * Reader of uncompressed tar archives (v7, ustar, GNU, pax), as an index: nothing is copied or unpacked, file
 * contents are slices of the archive. The rules are those of something that trusts nobody: no entry may lie
 * outside, below something that is not a directory, or be a link to what the archive does not have.
 *
 * Two entries of one path: the last one counts, as when dpkg or tar unpack it. Left out, because images have
 * no place for them: extended attributes, ACLs, sub-second and other times, user and group names. Refused,
 * because ignoring them would give wrong files: sparse files, multi-volume parts, incremental dumps.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';
import { readChunks, sliceContent, type Source } from './random-access.ts';
import { decodeExtension, isExtension, toTreeEntry, type TarExtensions } from './tar-entry.ts';
import { decodeTarHeader, tarBlockBytes } from './tar-header.ts';
import type { TreeEntry } from './tree.ts';
import { parentPath, sortByPath } from './tree-order.ts';

export interface TarLimits {
  /** Default 200,000: a Debian kernel package has 6,000, linux-source 90,000. */
  readonly maxEntries?: number;
}

/** Long names and pax records: two paths and a few numbers; attributes of kilobytes are seen in the wild. */
const maxExtensionBytes = 1024 * 1024;

/** Headers of small files lie close together, so they are read in runs. */
const windowBytes = 64 * 1024;

/**
 * The entries of a tar archive, sorted by path. Directories that a path implies are not added.
 * @throws ProtocolError naming the archive and the entry
 */
export async function indexTar(
  source: Source,
  { maxEntries = 200_000 }: TarLimits = {},
  signal?: AbortSignal,
): Promise<TreeEntry[]> {
  const readBlock = createBlockReader(source);
  const tree = createTree();
  let extensions: TarExtensions | undefined;
  let headers = 0;
  // What a message is about.
  let subject = '';
  try {
    for (let at = 0; ;) {
      subject = `header at ${at}`;
      if (at + tarBlockBytes > source.sizeBytes)
        throw new ProtocolError('the archive ends without its end mark');
      const header = decodeTarHeader(await readBlock(at, signal));
      if (header === null) {
        if (extensions !== undefined) throw new ProtocolError('an extended header with no entry behind it');
        await assertZeros(source, at, signal);
        break;
      }
      subject = `entry ${quote(extensions?.path ?? Buffer.from(header.name).toString())}`;
      if (++headers > maxEntries) throw new ProtocolError(`the archive has more than ${maxEntries} entries`);
      const offset = at + tarBlockBytes;
      const extending = isExtension(header.type);
      const sizeBytes = (extending ? undefined : extensions?.sizeBytes) ?? header.sizeBytes;
      if (sizeBytes < 0 || sizeBytes > source.sizeBytes - offset) {
        throw new ProtocolError(`${sizeBytes} bytes of data do not fit into the archive`);
      }
      if (extending) {
        if (sizeBytes > maxExtensionBytes) {
          throw new ProtocolError(`an extended header of ${sizeBytes} bytes, above ${maxExtensionBytes}`);
        }
        const bytes = await source.readAt(offset, sizeBytes, signal);
        const extended = decodeExtension(header.type, bytes, extensions ?? {});
        if (header.type !== 'g') extensions = extended;
      } else {
        tree.add(toTreeEntry(header, extensions ?? {}, () => sliceContent(source, offset, sizeBytes)));
        extensions = undefined;
      }
      at = offset + Math.ceil(sizeBytes / tarBlockBytes) * tarBlockBytes;
    }
    subject = 'as a whole';
    return tree.finish();
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new ProtocolError(`Tar archive ${source.name}, ${subject}: ${error.message}`, { cause: error });
  }
}

/** Collects entries and checks what can only be seen from all of them. */
function createTree(): { add(entry: TreeEntry): void; finish(): TreeEntry[] } {
  const byPath = new Map<string, TreeEntry>();
  const linked = new Map<TreeEntry, TreeEntry>();
  return {
    add(entry) {
      if (entry.kind !== 'hardlink') {
        byPath.set(entry.path, entry);
        return;
      }
      const found = byPath.get(entry.target);
      if (found === undefined || found.kind === 'directory') {
        const what = found === undefined ? 'not in the archive before it' : 'a directory';
        throw new ProtocolError(`a hard link to ${quote(entry.target)}, which is ${what}`);
      }
      // Another link to the same file, or the file itself: then nothing changes.
      const target = linked.get(found) ?? found;
      if (target.path === entry.path) return;
      const link = { ...entry, target: target.path };
      byPath.set(entry.path, link);
      linked.set(link, target);
    },
    finish() {
      for (const entry of byPath.values()) {
        const target = linked.get(entry);
        // Unpacked, such a link would still be a name of the older file.
        if (target !== undefined && byPath.get(target.path) !== target) {
          throw new ProtocolError(
            `${quote(entry.path)} is a hard link to ${quote(target.path)}, which is replaced`,
          );
        }
        for (let path = entry.path; path !== '';) {
          path = parentPath(path);
          const parent = byPath.get(path);
          if (parent !== undefined && parent.kind !== 'directory') {
            throw new ProtocolError(
              `${quote(entry.path)} is below ${quote(path)}, which is a ${parent.kind}`,
            );
          }
        }
      }
      return sortByPath(byPath.values());
    },
  };
}

function createBlockReader(source: Source): (at: number, signal?: AbortSignal) => Promise<Uint8Array> {
  let start = 0;
  let window: Uint8Array = new Uint8Array(0);
  return async (at, signal) => {
    if (at < start || at + tarBlockBytes > start + window.length) {
      window = await source.readAt(at, Math.min(windowBytes, source.sizeBytes - at), signal);
      start = at;
    }
    return window.subarray(at - start, at - start + tarBlockBytes);
  };
}

async function assertZeros(source: Source, at: number, signal?: AbortSignal): Promise<void> {
  for await (const chunk of readChunks(source, at, source.sizeBytes - at, signal)) {
    if (chunk.some((byte) => byte !== 0)) throw new ProtocolError('more than zeros after the end mark');
  }
}

function quote(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path);
}
