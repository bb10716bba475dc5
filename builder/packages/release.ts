/**
 * The Release of a suite (https://wiki.debian.org/DebianRepository/Format), after its signature was
 * verified: what it says of itself is held against what was asked for, and its list of indexes is read.
 */
import { IntegrityError, ProtocolError } from '../../appliance/base/errors.ts';
import { parseControlFile } from './control-file.ts';
import { allowedSkewMs } from './keyring.ts';
import type { Suite } from './suites.ts';

export interface IndexEntry {
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface Release {
  readonly dateSec: number;
  readonly validUntilSec: number | null;
  /** False for backports: their packages are only taken when asked for. */
  readonly isAutomatic: boolean;
  readonly hasByHash: boolean;
  /** Packages of Architecture `all` stand in an index of their own. */
  readonly separatesAll: boolean;
  /** By path below the suite's directory. */
  readonly files: ReadonlyMap<string, IndexEntry>;
}

/** The main archive lists 1,200 files; a Packages has 57 MB. */
const maxFiles = 50_000;
const maxIndexBytes = 1024 * 1024 * 1024;

/** `Sat, 12 Sep 2026 07:55:41 UTC` (RFC 5322 with the zone's name). */
const datePattern = /^[A-Z][a-z]{2}, {1,2}\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} (?:UTC|GMT|\+0000)$/;

/**
 * Reads the signed text of a Release and checks that it is the one of `suite`, and in force.
 * @param subject names the file in errors
 * @throws IntegrityError when it belongs to another suite, is expired or comes from the future;
 *   ProtocolError when it is malformed
 */
export function readRelease(
  text: string,
  { suite, subject, nowMs }: { suite: Suite; subject: string; nowMs: number },
): Release {
  const stanzas = parseControlFile(text);
  const fields = stanzas[0];
  if (fields === undefined || stanzas.length !== 1) throw new ProtocolError(`${subject} is no Release`);
  const expectField = (name: string, allowed: readonly string[]) => {
    const found = fields.get(name.toLowerCase()) ?? '(nothing)';
    if (!allowed.includes(found)) {
      throw new IntegrityError({
        subject: `${name} of ${subject}`,
        expected: allowed.join(' or '),
        found,
      });
    }
  };
  expectField('Codename', [suite.codename]);
  expectField('Suite', suite.suiteFields);
  expectField('Label', [suite.label]);

  const dateSec = readDate(fields.get('date'), `Date of ${subject}`);
  const validUntil = fields.get('valid-until');
  if (validUntil === undefined && suite.validUntil === 'required') {
    throw new IntegrityError({ subject: `Valid-Until of ${subject}`, expected: 'a date', found: 'nothing' });
  }
  const validUntilSec = validUntil === undefined ? null : readDate(validUntil, `Valid-Until of ${subject}`);
  checkDates({ dateSec, validUntilSec }, subject, nowMs);

  const architectures = (fields.get('architectures') ?? '').split(/\s+/);
  const withoutAll = (fields.get('no-support-for-architecture-all') ?? '').split(/\s+/);
  return {
    dateSec,
    validUntilSec,
    isAutomatic: fields.get('notautomatic') !== 'yes',
    hasByHash: fields.get('acquire-by-hash') === 'yes',
    separatesAll: architectures.includes('all') && !withoutAll.includes('Packages'),
    files: readFiles(fields.get('sha256'), subject),
  };
}

/**
 * Checks the dates of a Release against the clock.
 * @throws IntegrityError
 */
export function checkDates(
  { dateSec, validUntilSec }: Pick<Release, 'dateSec' | 'validUntilSec'>,
  subject: string,
  nowMs: number,
): void {
  const nowSec = nowMs / 1000;
  if (dateSec > nowSec + allowedSkewMs / 1000) {
    throw new IntegrityError({
      subject,
      expected: `a date before now (${formatDate(nowSec)})`,
      found: formatDate(dateSec),
      message: `${subject} is from the future: it is dated ${formatDate(dateSec)}, and this machine's clock says ${formatDate(nowSec)}; check the clock`,
    });
  }
  if (validUntilSec !== null && validUntilSec < nowSec) {
    throw new IntegrityError({
      subject,
      expected: `a Valid-Until after now (${formatDate(nowSec)})`,
      found: formatDate(validUntilSec),
      message: `${subject} has expired: it was valid until ${formatDate(validUntilSec)}, and this machine's clock says ${formatDate(nowSec)}. The mirror is out of date, or somebody holds back updates`,
    });
  }
}

/** `2026-09-12T07:55:41Z`. */
export function formatDate(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
}

function readDate(text: string | undefined, subject: string): number {
  const milliseconds = text !== undefined && datePattern.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(milliseconds)) {
    throw new ProtocolError(`${subject} is no date: ${JSON.stringify(text)}`);
  }
  return milliseconds / 1000;
}

function readFiles(list: string | undefined, subject: string): ReadonlyMap<string, IndexEntry> {
  const lines = (list ?? '').split('\n').filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new ProtocolError(`${subject} has no SHA256 list`);
  if (lines.length > maxFiles) throw new ProtocolError(`${subject} lists more than ${maxFiles} files`);
  const files = new Map<string, IndexEntry>();
  for (const line of lines) {
    const match = /^([0-9a-f]{64})\s+(\d{1,12})\s+(\S+)$/.exec(line.trim());
    if (match === null)
      throw new ProtocolError(`${subject} has a malformed line in its SHA256 list: ${line}`);
    const sizeBytes = Number(match[2]);
    if (sizeBytes > maxIndexBytes) continue; // Contents may be huge; nothing we read is.
    files.set(match[3] ?? '', { sha256: match[1] ?? '', sizeBytes });
  }
  return files;
}
