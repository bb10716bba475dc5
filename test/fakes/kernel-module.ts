/** Makes kernel modules small enough for tests: an ELF64 file with a .modinfo section and nothing else. */

/** An ELF64 little-endian relocatable file with these sections, names table last. */
export function encodeElf(sections: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const all = Object.entries(sections);
  const nameOffsets: number[] = [];
  let names = '\0';
  for (const name of [...all.map(([one]) => one), '.shstrtab']) {
    nameOffsets.push(names.length);
    names += `${name}\0`;
  }
  const contents = [...all.map(([, bytes]) => bytes), new TextEncoder().encode(names)];
  const dataBytes = contents.reduce((sum, { length }) => sum + length, 0);
  const tableOffset = 64 + dataBytes;
  const file = new Uint8Array(tableOffset + (contents.length + 1) * 64);
  const view = new DataView(file.buffer);
  view.setUint32(0, 0x7f454c46);
  file.set([2, 1, 1], 4);
  view.setUint16(16, 1, true);
  view.setBigUint64(40, BigInt(tableOffset), true);
  view.setUint16(58, 64, true);
  view.setUint16(60, contents.length + 1, true);
  view.setUint16(62, contents.length, true);
  let offset = 64;
  for (const [index, bytes] of contents.entries()) {
    file.set(bytes, offset);
    const at = tableOffset + (index + 1) * 64;
    view.setUint32(at, nameOffsets[index] ?? 0, true);
    view.setUint32(at + 4, 1, true);
    view.setBigUint64(at + 24, BigInt(offset), true);
    view.setBigUint64(at + 32, BigInt(bytes.length), true);
    offset += bytes.length;
  }
  return file;
}

/** A `.ko` file with these modinfo texts. */
export function encodeModule(...fields: readonly string[]): Uint8Array {
  return encodeElf({
    '.text': new Uint8Array(16),
    '.modinfo': new TextEncoder().encode(fields.map((field) => `${field}\0`).join('')),
  });
}
