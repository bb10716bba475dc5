/**
 * Debian version numbers: validation and order, as deb-version(7) defines them.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';

/** Debian's own tools refuse nothing below this; the longest in trixie has 52 characters. */
const maxVersionLength = 256;

interface DebianVersion {
  readonly epoch: number;
  readonly upstream: string;
  readonly revision: string;
}

function parseVersion(text: string): DebianVersion {
  const match = /^(?:(\d{1,9}):)?([A-Za-z0-9.+~-]*?[A-Za-z0-9.+~])(?:-([A-Za-z0-9.+~]+))?$/.exec(text);
  if (match === null || text.length > maxVersionLength) {
    throw new ProtocolError(`${JSON.stringify(text.slice(0, maxVersionLength))} is not a Debian version`);
  }
  const [, epoch = '0', upstream = '', revision = ''] = match;
  return { epoch: Number(epoch), upstream, revision };
}

/** deb-version(7): `~` sorts before the end, letters before everything else. */
function weightOf(character: string | undefined): number {
  if (character === undefined || isDigit(character)) return 0;
  if (character === '~') return -1;
  const code = character.charCodeAt(0);
  const isLetter = (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
  return isLetter ? code : code + 256;
}

function isDigit(character: string | undefined): boolean {
  return character !== undefined && character >= '0' && character <= '9';
}

/** Compares by turns a run of non-digits, by weight, and a run of digits, by value. */
function comparePart(left: string, right: string): number {
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    while ((i < left.length && !isDigit(left[i])) || (j < right.length && !isDigit(right[j]))) {
      const difference = weightOf(left[i]) - weightOf(right[j]);
      if (difference !== 0) return Math.sign(difference);
      i++;
      j++;
    }
    const leftDigits = digitsAt(left, i);
    const rightDigits = digitsAt(right, j);
    i += leftDigits.length;
    j += rightDigits.length;
    const difference = compareNumbers(leftDigits, rightDigits);
    if (difference !== 0) return difference;
  }
  return 0;
}

function digitsAt(text: string, start: number): string {
  let end = start;
  while (isDigit(text[end])) end++;
  return text.slice(start, end);
}

/** As text, since a date and time with a serial number exceeds what a double holds. */
function compareNumbers(left: string, right: string): number {
  const a = left.replace(/^0+/, '');
  const b = right.replace(/^0+/, '');
  if (a.length !== b.length) return Math.sign(a.length - b.length);
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/**
 * Orders two versions: negative when `left` is older, 0 when they are equal, positive when it is newer.
 * @throws ProtocolError for text that is no version
 */
export function compareVersions(left: string, right: string): number {
  if (left === right) return 0;
  const a = parseVersion(left);
  const b = parseVersion(right);
  return (
    Math.sign(a.epoch - b.epoch) || comparePart(a.upstream, b.upstream) || comparePart(a.revision, b.revision)
  );
}

/** Debian Policy §7.1. */
export type VersionRelation = '<<' | '<=' | '=' | '>=' | '>>';

/** True when `version` stands in `relation` to `wanted`. */
export function satisfiesVersion(version: string, relation: VersionRelation, wanted: string): boolean {
  const order = compareVersions(version, wanted);
  switch (relation) {
    case '<<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '=':
      return order === 0;
    case '>=':
      return order >= 0;
    case '>>':
      return order > 0;
  }
}
