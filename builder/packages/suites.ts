/** The suites of the Debian archive that images are made from, as data. */
import { ConfigError } from '../../appliance/base/errors.ts';
import { debianArchiveKeys, debianSecurityKeys } from './debian-keys.ts';
import type { PinnedKey } from './keyring.ts';

/** Each has its own mirrors: the main archive and the security archive. */
export type ArchiveName = 'debian' | 'debian-security';

export interface Suite {
  /** The directory below `dists/`. */
  readonly name: string;
  readonly archive: ArchiveName;
  /** What the signed Release has to say of itself: the same keys sign other suites too. */
  readonly codename: string;
  readonly label: string;
  /** The Suite field, which ages from `stable` to `oldstable` while the codename stays. */
  readonly suiteFields: readonly string[];
  /**
   * A release is signed once and has no end; what is signed anew every day has one, and without it a
   * mirror could hold back updates for ever.
   */
  readonly validUntil: 'required' | 'optional';
  readonly keys: readonly PinnedKey[];
}

const ages = ['testing', 'stable', 'oldstable', 'oldoldstable'];

function suite(
  name: string,
  suffix: string,
  { archive, label, validUntil, keys }: Pick<Suite, 'archive' | 'label' | 'validUntil' | 'keys'>,
): Suite {
  return {
    name,
    archive,
    codename: name,
    label,
    suiteFields: ages.map((age) => age + suffix),
    validUntil,
    keys,
  };
}

const main = { archive: 'debian', label: 'Debian', keys: debianArchiveKeys } as const;

/** Debian 13. */
export const debianSuites: readonly Suite[] = [
  suite('trixie', '', { ...main, validUntil: 'optional' }),
  suite('trixie-updates', '-updates', { ...main, validUntil: 'required' }),
  suite('trixie-backports', '-backports', { ...main, label: 'Debian Backports', validUntil: 'required' }),
  suite('trixie-security', '-security', {
    archive: 'debian-security',
    label: 'Debian-Security',
    validUntil: 'required',
    keys: debianSecurityKeys,
  }),
];

/**
 * The suites that `names` names, and the security suites of `known` whether named or not.
 * @throws ConfigError for a name that is not known
 */
export function selectSuites(names: readonly string[], known: readonly Suite[]): readonly Suite[] {
  for (const name of names) {
    if (!known.some((suite) => suite.name === name)) {
      throw new ConfigError(
        'suites',
        `There is no suite ${JSON.stringify(name)}`,
        `Choose among ${known.map((suite) => suite.name).join(', ')}`,
      );
    }
  }
  return known.filter((suite) => names.includes(suite.name) || suite.archive === 'debian-security');
}
