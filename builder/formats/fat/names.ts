/**
 * Names on a FAT volume: each file has a short name (8.3, OEM characters) and, where that does not say
 * it all, a long one (VFAT, UTF-16). Source: Microsoft's FAT specification 1.03, "Long directory entries"
 * and "The Basis-Name Generation Algorithm". The case bits of Windows NT are not used: not every firmware
 * knows them, a long name all do.
 */

/** FAT specification 1.03, "Long Names": 255 UTF-16 units. */
const maxLongNameUnits = 255;

export interface FatName {
  /** 11 bytes: base and extension, padded with spaces. */
  readonly short: Uint8Array;
  /** Undefined where the short name is exactly the name. */
  readonly long: string | undefined;
}

/**
 * Gives every name of one directory its short name, each different, the same for the same names.
 * @throws RangeError for a name FAT cannot hold, and for two that differ in case only
 */
export function assignFatNames(names: readonly string[], directory: string): Map<string, FatName> {
  const folded = new Map<string, string>();
  for (const name of names) {
    checkLongName(name, directory);
    const other = folded.get(foldCase(name));
    if (other !== undefined) {
      throw new RangeError(`FAT cannot hold both ${other} and ${name} in /${directory}: case does not count`);
    }
    folded.set(foldCase(name), name);
  }

  const assigned = new Map<string, FatName>();
  const used = new Set<string>();
  const needTail: { name: string; basis: BasisName }[] = [];
  // Names that fit go first, so that a made-up alias never takes one of theirs.
  for (const name of names.toSorted()) {
    const basis = basisName(name);
    if (basis.lossy) {
      needTail.push({ name, basis });
      continue;
    }
    const text = joinShort(basis.base, basis.extension);
    used.add(text);
    assigned.set(name, { short: padShort(basis), long: text === name ? undefined : name });
  }
  const nextNumber = new Map<string, number>();
  for (const { name, basis } of needTail) {
    const base = numericTail(basis, used, nextNumber, name);
    used.add(joinShort(base, basis.extension));
    assigned.set(name, { short: padShort({ base, extension: basis.extension }), long: name });
  }
  return assigned;
}

function checkLongName(name: string, directory: string): void {
  const refuse = (why: string): RangeError =>
    new RangeError(`FAT cannot hold the name ${JSON.stringify(name)} in /${directory}: ${why}`);
  if (name.length > maxLongNameUnits) throw refuse(`it has more than ${maxLongNameUnits} UTF-16 units`);
  const reserved = /[\p{Cc}"*/:<>?\\|]/u.exec(name)?.[0];
  if (reserved !== undefined) throw refuse(`${JSON.stringify(reserved)} is reserved`);
  if (name === '' || /[ .]$/.test(name)) throw refuse('it is empty, or ends with a dot or a space');
  if (!name.isWellFormed()) throw refuse('it is not valid Unicode');
}

/**
 * What two names must not share: upper case, a UTF-16 unit at a time, as filesystems compare (so that ß,
 * which has no single upper-case letter, is not SS).
 */
function foldCase(name: string): string {
  let folded = '';
  for (let index = 0; index < name.length; index++) {
    const unit = name.charAt(index);
    const upper = unit.toUpperCase();
    folded += upper.length === 1 ? upper : unit;
  }
  return folded;
}

interface BasisName {
  readonly base: string;
  readonly extension: string;
  /** The name does not fit as it is, apart from its case. */
  readonly lossy: boolean;
}

function basisName(name: string): BasisName {
  // Only ASCII letters change case here: what lies beyond depends on the code page of who reads.
  const upper = name.replace(/[a-z]+/g, (letters) => letters.toUpperCase());
  const stripped = upper.replace(/^\.+/, '').replaceAll(' ', '');
  const plain = stripped.replace(/[^A-Z0-9!#$%&'()@^_`{}~.-]/gu, '_');
  const dot = plain.lastIndexOf('.');
  const wholeBase = (dot < 0 ? plain : plain.slice(0, dot)).replaceAll('.', '');
  const base = wholeBase.slice(0, 8) || '_';
  const extension = dot < 0 ? '' : plain.slice(dot + 1, dot + 4);
  return { base, extension, lossy: joinShort(base, extension) !== upper };
}

/**
 * Shortens the base until `~n` fits and is free. The search goes on where the last one for the same start
 * ended, so ten thousand similar names stay cheap.
 */
function numericTail(
  basis: BasisName,
  used: ReadonlySet<string>,
  nextNumber: Map<string, number>,
  name: string,
): string {
  for (let digits = 1; digits <= 6; digits++) {
    const start = basis.base.slice(0, 7 - digits);
    const key = `${digits} ${joinShort(start, basis.extension)}`;
    const end = 10 ** digits;
    let number = nextNumber.get(key) ?? 10 ** (digits - 1);
    while (number < end && used.has(joinShort(`${start}~${number}`, basis.extension))) number++;
    nextNumber.set(key, number);
    if (number < end) return `${start}~${number}`;
  }
  throw new RangeError(`FAT has no short name left for ${name}: too many names are alike`);
}

function joinShort(base: string, extension: string): string {
  return extension === '' ? base : `${base}.${extension}`;
}

function padShort({ base, extension }: { base: string; extension: string }): Uint8Array {
  return Buffer.from(base.padEnd(8) + extension.padEnd(3), 'latin1');
}
