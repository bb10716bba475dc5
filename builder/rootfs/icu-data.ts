/**
 * Takes the data out of libicudata: 31 MB of tables for every language, loaded by Postfix and Dovecot for
 * internationalised addresses, which a chatmail relay does not have (`smtputf8_enable = no`). The library
 * stays as it is, with a table of contents that is empty, so nothing that links it notices. Node carries
 * its own ICU. Source: ICU's "Common Data" format, icu4c/source/common/ucmndata.h.
 */
import { IntegrityError } from '../../appliance/base/errors.ts';
import { readElfSection } from '../formats/elf.ts';

/** Which files of the root this is for. */
export const icuDataLibrary = /^usr\/lib\/[^/]+\/libicudata\.so\.\d+\.\d+$/;

// Start of the data (struct DataHeader):
// offset size field
// 0      2    header size
// 2      2    magic DA 27
// 4      20   UDataInfo; at 12 of the header the format, "CmnD"
// header size …: number of entries (4 bytes), entries, data
const magic = Uint8Array.of(0xda, 0x27);
const format = new TextEncoder().encode('CmnD');

/**
 * A copy of the library with empty data, of the same size (zeros compress to nothing).
 * @throws IntegrityError when it is not laid out as expected: Debian has changed it, and somebody must look
 */
export function emptyIcuData(library: Uint8Array): Uint8Array<ArrayBuffer> {
  const refuse = (found: string) =>
    new IntegrityError({ subject: 'The data in libicudata', expected: 'ICU common data', found });
  // The library holds one object, and .rodata holds nothing else.
  const section = readElfSection(library, '.rodata');
  if (section === undefined) throw refuse('no .rodata section');
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  const equals = (offset: number, bytes: Uint8Array) =>
    bytes.every((byte, at) => section[offset + at] === byte);
  if (section.length < 64 || !equals(2, magic) || !equals(12, format)) throw refuse('something else');
  const headerBytes = view.getUint16(0, true);
  if (headerBytes < 24 || headerBytes > 1024) throw refuse(`a header of ${headerBytes} bytes`);
  const emptied = Uint8Array.from(library);
  emptied.fill(
    0,
    section.byteOffset - library.byteOffset + headerBytes,
    section.byteOffset - library.byteOffset + section.length,
  );
  return emptied;
}
