/**
 * Drops what follows the last loadable byte of an ELF64 file: symbol tables, debug sections and the
 * section headers, which the kernel and ld.so never read (elf(5), System V ABI chapter 5). Segments keep
 * their offsets, so nothing in the program moves.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';

//  offset size field (ELF64 header)      offset size field (program header)
//  0      4    magic 7F 'E' 'L' 'F'      0      4    p_type
//  4      1    class: 2 = 64 bit         8      8    p_offset
//  5      1    data: 1 = little-endian   32     8    p_filesz
//  32     8    e_phoff
//  40     8    e_shoff
//  54     2    e_phentsize
//  56     2    e_phnum
//  58     2    e_shentsize
//  60     2    e_shnum
//  62     2    e_shstrndx
const headerBytes = 64;
const programHeaderBytes = 56;

/**
 * Returns a shorter copy of an ELF64 little-endian executable or shared object.
 * @throws ProtocolError when `file` is not one
 */
export function stripElf(file: Uint8Array): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < headerBytes || view.getUint32(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    throw new ProtocolError('Not a little-endian ELF64 file');
  }
  const tableOffset = Number(view.getBigUint64(32, true));
  const count = view.getUint16(56, true);
  if (view.getUint16(54, true) !== programHeaderBytes) throw new ProtocolError('Odd ELF program header size');
  let endOffset = tableOffset + count * programHeaderBytes;
  if (endOffset > file.length) throw new ProtocolError('ELF program headers lie beyond the file');
  for (let index = 0; index < count; index++) {
    const at = tableOffset + index * programHeaderBytes;
    const end = Number(view.getBigUint64(at + 8, true) + view.getBigUint64(at + 32, true));
    if (end > file.length) throw new ProtocolError(`ELF segment ${index} lies beyond the file`);
    endOffset = Math.max(endOffset, end);
  }
  const stripped = file.slice(0, endOffset);
  const out = new DataView(stripped.buffer);
  out.setBigUint64(40, 0n, true);
  out.setUint16(58, 0, true);
  out.setUint16(60, 0, true);
  out.setUint16(62, 0, true);
  return stripped;
}
