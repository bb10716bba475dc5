/**
 * Finds one section of an ELF file by its name (System V ABI, chapter 4; elf(5)). Reads ELF64
 * little-endian only, which is all that Debian's amd64 and arm64 kernels are made of.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';

//  offset size field (ELF64 header)      offset size field (section header)
//  0      4    magic 7F 'E' 'L' 'F'      0      4    sh_name (offset in the table of names)
//  4      1    class: 2 = 64 bit         4      4    sh_type
//  5      1    data: 1 = little-endian   24     8    sh_offset
//  40     8    e_shoff                   32     8    sh_size
//  58     2    e_shentsize
//  60     2    e_shnum
//  62     2    e_shstrndx
const headerBytes = 64;
const sectionHeaderBytes = 64;
const sectionTypeNoBits = 8;

/** Kernel modules have some 60 sections; a file with more than this was made to keep us busy. */
const maxSections = 4096;
/** Longest name of a section worth comparing. */
const maxNameBytes = 256;

/**
 * The bytes of the first section called `name` (a view, not a copy), or undefined when there is none.
 * @throws ProtocolError when `file` is not an ELF64 little-endian file or points beyond its own end
 */
export function readElfSection(file: Uint8Array, name: string): Uint8Array | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < headerBytes || view.getUint32(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    throw new ProtocolError('Not a little-endian ELF64 file');
  }
  const tableOffset = view.getBigUint64(40, true);
  const count = view.getUint16(60, true);
  const namesIndex = view.getUint16(62, true);
  if (count === 0) return undefined;
  if (view.getUint16(58, true) !== sectionHeaderBytes) throw new ProtocolError('Odd ELF section header size');
  if (count > maxSections)
    throw new ProtocolError(`ELF file with ${count} sections, more than ${maxSections}`);
  if (tableOffset + BigInt(count * sectionHeaderBytes) > BigInt(file.length)) {
    throw new ProtocolError('ELF section headers lie beyond the file');
  }
  if (namesIndex >= count) throw new ProtocolError('ELF section names are in no section');

  const headerOf = (index: number) => Number(tableOffset) + index * sectionHeaderBytes;
  const contentOf = (index: number): Uint8Array => {
    const at = headerOf(index);
    const offset = view.getBigUint64(at + 24, true);
    const size = view.getBigUint64(at + 32, true);
    if (view.getUint32(at + 4, true) === sectionTypeNoBits) return new Uint8Array();
    if (offset + size > BigInt(file.length)) {
      throw new ProtocolError(`ELF section ${index} lies beyond the file`);
    }
    return file.subarray(Number(offset), Number(offset + size));
  };

  const names = contentOf(namesIndex);
  for (let index = 0; index < count; index++) {
    const start = view.getUint32(headerOf(index), true);
    if (nameAt(names, start) === name) return contentOf(index);
  }
  return undefined;
}

function nameAt(names: Uint8Array, start: number): string | undefined {
  const window = names.subarray(start, start + maxNameBytes);
  const end = window.indexOf(0);
  return end === -1 ? undefined : new TextDecoder('latin1').decode(window.subarray(0, end));
}
