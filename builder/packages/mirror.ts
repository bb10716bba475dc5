/**
 * Which mirrors to ask, in which order: the one the operator names, then those of the machine's own apt
 * sources, then Debian's. Where a mirror stands says nothing about what it serves; signatures do.
 */
import { ConfigError } from '../../appliance/base/errors.ts';
import type { AptSource } from './apt-sources.ts';
import type { ArchiveName, Suite } from './suites.ts';

/** Base URLs without a slash at the end, to be tried in order. */
export type Mirrors = Readonly<Record<ArchiveName, readonly string[]>>;

const debianMirror = 'http://ftp.debian.org/debian';
const debianSecurityMirror = 'http://security.debian.org/debian-security';

/** https://snapshot.debian.org keeps every state of the archive, by time. */
export const snapshotBase = 'http://snapshot.debian.org/archive';

/** Names under which Debian's own suites appear in apt sources. */
const releases = 'stable|oldstable|oldoldstable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke';
const mainSuite = new RegExp(`^(?:${releases})$`);
const securitySuite = new RegExp(`^(?:${releases})(?:-security|/updates)$`);

/** Derivatives that use Debian's names for suites of their own. */
const derivative = /raspbian|raspberrypi|devuan|kali|proxmox|armbian/i;

/**
 * Chooses mirrors. A mirror that was named is the only one for the main archive; the security archive is
 * looked for beside it first (`…/debian-security`), since not every mirror carries it.
 * @param named from `--mirror` or the configuration
 * @throws ConfigError when `named` is no URL that can be fetched
 */
export function chooseMirrors(named: string | undefined, aptSources: readonly AptSource[]): Mirrors {
  const usable = aptSources.filter(isDebianSource);
  const basesOf = (suites: RegExp) =>
    usable
      .filter((source) => source.suites.some((suite) => suites.test(suite)))
      .map((source) => baseOf(source.uri));
  const hostSecurity = basesOf(securitySuite);
  if (named !== undefined) {
    const base = checkMirror(named);
    return {
      debian: [base],
      'debian-security': unique([`${base}-security`, ...hostSecurity, debianSecurityMirror]),
    };
  }
  return {
    debian: unique([...basesOf(mainSuite), debianMirror]),
    'debian-security': unique([...hostSecurity, debianSecurityMirror]),
  };
}

/** Only what apt itself would verify with Debian's keys, over a transport that we speak. */
function isDebianSource({ uri, components, signedBy }: AptSource): boolean {
  if (!/^(?:https?|file):\/\//.test(uri) || !URL.canParse(uri) || derivative.test(uri)) return false;
  if (!components.some((component) => component === 'main' || component === 'updates/main')) return false;
  return signedBy === undefined || signedBy.includes('debian-archive-');
}

function checkMirror(text: string): string {
  const isFetchable = URL.canParse(text) && ['http:', 'https:', 'file:'].includes(new URL(text).protocol);
  if (isFetchable) return baseOf(text);
  throw new ConfigError(
    'mirror',
    `${JSON.stringify(text)} is not a mirror's URL`,
    'Give one such as http://ftp.debian.org/debian or file:///srv/mirror/debian',
  );
}

function baseOf(uri: string): string {
  return uri.replace(/\/+$/, '');
}

function unique(bases: readonly string[]): readonly string[] {
  return [...new Set(bases)];
}

/** `InRelease` and the like below a suite's directory, on each mirror. */
export function suiteUrls(mirrors: Mirrors, suite: Suite, path: string): readonly string[] {
  return mirrors[suite.archive].map((base) => `${base}/dists/${suite.name}/${path}`);
}

const hourSec = 3600;

/**
 * Where snapshot.debian.org should have a file of an archive that was dated `dateSec`. It answers with the
 * last state before the time asked for, and takes the archive in some hours after its date: half a day
 * later holds it, unless the next state came first, and then the file is still kept beside it.
 */
export function snapshotUrls(
  base: string,
  archive: ArchiveName,
  dateSec: number,
  filename: string,
): readonly string[] {
  return [12, 36, 0].map((hours) => {
    const time = new Date((dateSec + hours * hourSec) * 1000).toISOString();
    const stamp = time.replace(/\.\d+/, '').replace(/[-:]/g, '');
    return `${base}/${archive}/${stamp}/${filename}`;
  });
}
