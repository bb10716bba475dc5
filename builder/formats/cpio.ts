/**
 * Writer of "newc" cpio archives, the format of an initramfs. The kernel's reader (init/initramfs.c) makes
 * entries in the order it meets them and ignores one whose parent is missing, so the tree is put in order
 * and checked first. The same tree gives the same bytes: inode numbers count from 1, the device is 0:0.
 * Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst, cpio(5).
 */
import type { TreeEntry } from './tree.ts';
import { orderTree } from './tree-order.ts';

/** File type bits of the mode, inode(7). */
const typeBits = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
} as const;

/** c_filesize is 32 bits wide; kernel and GNU cpio read it as unsigned. */
const maxFileBytes = 0xffffffff;

/** What cpio(1) pads an archive to. The kernel needs 4, to find a second archive behind it. */
const archiveAlignment = 512;

const trailer = 'TRAILER!!!';

interface Header {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: number;
  readonly sizeBytes: number;
  readonly major: number;
  readonly minor: number;
  readonly name: string;
}

/**
 * The archive, in pieces of any size. Of several hard links the last one carries the bytes, as gen_init_cpio
 * and cpio(1) do it.
 * @throws RangeError if the tree breaks the rules of `orderTree`, a file is 4 GiB or larger, or its content
 *   has another size than it declares
 */
export async function* encodeCpio(
  entries: Iterable<TreeEntry>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const names = orderTree(entries);
  const inodeNumbers = new Map<unknown, number>();
  let writtenBytes = 0;
  const count = (bytes: Uint8Array) => {
    writtenBytes += bytes.length;
    return bytes;
  };
  for (const { path, inode } of names) {
    const { entry, paths } = inode;
    const number = inodeNumbers.get(inode) ?? inodeNumbers.size + 1;
    inodeNumbers.set(inode, number);
    const content = contentOf(entry, path === paths.at(-1));
    if (content.sizeBytes > maxFileBytes) {
      throw new RangeError(
        `File "${path}" has ${content.sizeBytes} bytes, a cpio archive takes ${maxFileBytes}`,
      );
    }
    const device = entry.kind === 'character' || entry.kind === 'block' ? entry : { major: 0, minor: 0 };
    yield count(
      encodeHeader({
        inode: number,
        mode: typeBits[entry.kind] | entry.mode,
        links: entry.kind === 'directory' ? 2 : paths.length,
        uid: entry.uid,
        gid: entry.gid,
        mtimeSec: entry.mtimeSec,
        sizeBytes: content.sizeBytes,
        major: device.major,
        minor: device.minor,
        name: path === '' ? '.' : path,
      }),
    );
    let bodyBytes = 0;
    for await (const chunk of content.read(signal)) {
      signal?.throwIfAborted();
      bodyBytes += chunk.length;
      if (bodyBytes > content.sizeBytes) break;
      yield count(chunk);
    }
    if (bodyBytes !== content.sizeBytes) {
      throw new RangeError(`File "${path}" declares ${content.sizeBytes} bytes and has ${bodyBytes}`);
    }
    yield count(new Uint8Array(-writtenBytes & 3));
  }
  const nothing = { inode: 0, mode: 0, uid: 0, gid: 0, mtimeSec: 0, sizeBytes: 0, major: 0, minor: 0 };
  yield count(encodeHeader({ ...nothing, links: 1, name: trailer }));
  yield new Uint8Array(-writtenBytes & (archiveAlignment - 1));
}

function contentOf(
  entry: TreeEntry,
  isLastName: boolean,
): {
  readonly sizeBytes: number;
  read(signal?: AbortSignal): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
} {
  if (entry.kind === 'file' && isLastName) return entry.content;
  // The kernel makes every name of a symlink anew, so each needs the target.
  const bytes = Buffer.from(entry.kind === 'symlink' ? entry.target : '');
  return { sizeBytes: bytes.length, read: () => [bytes] };
}

/*
 * All numbers are 8 hexadecimal digits in ASCII.
 *
 *   offset field                  offset field
 *        0 c_magic "070701"           62 c_devmajor
 *        6 c_ino                      70 c_devminor
 *       14 c_mode                     78 c_rdevmajor
 *       22 c_uid                      86 c_rdevminor
 *       30 c_gid                      94 c_namesize, with the NUL
 *       38 c_nlink                   102 c_check, 0 in this variant
 *       46 c_mtime                   110 name, NUL, zeros up to a multiple of 4
 *       54 c_filesize
 */
function encodeHeader(header: Header): Uint8Array {
  const name = Buffer.from(`${header.name}\0`);
  const fields = [
    header.inode,
    header.mode,
    header.uid,
    header.gid,
    header.links,
    header.mtimeSec,
    header.sizeBytes,
    0,
    0,
    header.major,
    header.minor,
    name.length,
    0,
  ];
  const text = `070701${fields.map((field) => field.toString(16).toUpperCase().padStart(8, '0')).join('')}`;
  const bytes = Buffer.alloc((text.length + name.length + 3) & ~3);
  bytes.write(text, 'latin1');
  name.copy(bytes, text.length);
  return bytes;
}
