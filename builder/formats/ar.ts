/**
 * Reader of the common ar archive, the outer layer of a Debian package. Only what deb(5) uses: short names
 * in the header. The GNU string table (`//`, `/0`) and BSD long names (`#1/20`) are refused by name.
 * Source: deb(5), ar(5).
 */
import { ProtocolError } from '../../appliance/base/errors.ts';
import type { Source } from './random-access.ts';

/** deb(5) knows three members, and allows more names that start with an underscore; 64 is generous. */
const maxMembers = 64;

const globalHeader = '!<arch>\n';

/*
 * Member header, all ASCII, numbers in decimal (mode in octal), padded with spaces:
 *
 *   offset size field
 *        0   16 name, `/` at the end in the GNU variant
 *       16   12 modification time, seconds since 1970
 *       28    6 owner
 *       34    6 group
 *       40    8 mode
 *       48   10 size of the member in bytes
 *       58    2 "`\n"
 *
 * The data follow; a member of odd size is padded with one "\n".
 */
const headerBytes = 60;

export interface ArMember {
  readonly name: string;
  /** Where its bytes begin in the source. */
  readonly offset: number;
  readonly sizeBytes: number;
  readonly mtimeSec: number;
}

/**
 * Lists the members of an ar archive, in order, without reading their bytes.
 * @throws ProtocolError if the archive is broken, or lists a name twice
 */
export async function readArMembers(source: Source, signal?: AbortSignal): Promise<readonly ArMember[]> {
  const magic = await source.readAt(0, Math.min(globalHeader.length, source.sizeBytes), signal);
  if (ascii(magic) !== globalHeader) throw new ProtocolError(`${source.name} is not an ar archive`);
  const members: ArMember[] = [];
  const names = new Set<string>();
  let at = globalHeader.length;
  while (at < source.sizeBytes) {
    if (members.length === maxMembers) {
      throw new ProtocolError(`Ar archive ${source.name} has more than ${maxMembers} members`);
    }
    if (at + headerBytes > source.sizeBytes) {
      throw new ProtocolError(`Ar archive ${source.name} ends inside the header at ${at}`);
    }
    const member = decodeHeader(await source.readAt(at, headerBytes, signal), at, source.name);
    const end = member.offset + member.sizeBytes;
    if (end > source.sizeBytes) {
      throw new ProtocolError(`Ar archive ${source.name} ends inside member "${member.name}"`);
    }
    if (names.has(member.name)) {
      throw new ProtocolError(`Ar archive ${source.name} has two members "${member.name}"`);
    }
    names.add(member.name);
    members.push(member);
    at = end + (end % 2);
  }
  return members;
}

function decodeHeader(header: Uint8Array, at: number, archive: string): ArMember {
  const text = ascii(header);
  if (text.slice(58) !== '`\n') throw new ProtocolError(`Ar archive ${archive} has a broken header at ${at}`);
  const name = text.slice(0, 16).trimEnd().replace(/\/$/, '');
  if (!/^[A-Za-z0-9._+-]+$/.test(name)) {
    throw new ProtocolError(`Ar archive ${archive} has an unsupported member name ${JSON.stringify(name)}`);
  }
  const decimal = (start: number, end: number, field: string): number => {
    const digits = text.slice(start, end).trimEnd();
    if (!/^[0-9]+$/.test(digits)) {
      const found = JSON.stringify(digits);
      throw new ProtocolError(`Ar archive ${archive}, member "${name}": ${field} is ${found}, not a number`);
    }
    return Number(digits);
  };
  return {
    name,
    offset: at + headerBytes,
    sizeBytes: decimal(48, 58, 'size'),
    mtimeSec: decimal(16, 28, 'time'),
  };
}

function ascii(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
