/** All packages that the suites of a target offer, by name and by what they provide. */
import { parseDependencies, type Relation } from './dependency.ts';
import { type PackageRecord, type PackageStanza, parseRecord, providesOf } from './package-records.ts';
import { compareVersions, satisfiesVersion } from './version.ts';

export interface Candidate {
  readonly record: PackageRecord;
  readonly suite: string;
  /** False for backports: such a candidate is only taken when asked for, or when no other will do. */
  readonly isAutomatic: boolean;
}

interface Offer extends Omit<Candidate, 'record'> {
  readonly stanza: PackageStanza;
}

export class PackageUniverse {
  readonly architecture: string;
  /** Most are never asked for: they stay text. */
  readonly #offers = new Map<string, Offer[]>();
  readonly #providers = new Map<string, string[]>();
  readonly #candidates = new Map<string, readonly Candidate[]>();

  constructor(architecture: string) {
    this.architecture = architecture;
  }

  /** Adds a package of a suite. Suites are added in a fixed order: of two equal versions the first counts. */
  add(stanza: PackageStanza, suite: string, isAutomatic: boolean): void {
    const offers = this.#offers.get(stanza.name);
    if (offers === undefined) this.#offers.set(stanza.name, [{ stanza, suite, isAutomatic }]);
    else offers.push({ stanza, suite, isAutomatic });
    for (const [name] of providesOf(stanza).matchAll(providedName)) {
      const providers = this.#providers.get(name) ?? [];
      if (providers.length === 0) this.#providers.set(name, providers);
      if (providers.at(-1) !== stanza.name) providers.push(stanza.name);
    }
  }

  /** Everything called `name`, the best first: automatic suites before others, newer before older. */
  named(name: string): readonly Candidate[] {
    const known = this.#candidates.get(name);
    if (known !== undefined) return known;
    const candidates = (this.#offers.get(name) ?? [])
      .map(({ stanza, suite, isAutomatic }) => ({ record: parseRecord(stanza), suite, isAutomatic }))
      .filter(({ record }) => [this.architecture, 'all'].includes(record.architecture))
      // Stable: of two equal versions the one added first comes first.
      .toSorted(compareCandidates);
    this.#candidates.set(name, candidates);
    return candidates;
  }

  /**
   * What satisfies a relation by its Provides, the best first: by priority as apt does, then by name. Only
   * the best version of each package counts.
   */
  providing(relation: Relation): readonly Candidate[] {
    return [...new Set(this.#providers.get(relation.name))]
      .map((name) => this.named(name)[0])
      .filter((candidate) => candidate !== undefined)
      .filter((candidate) => provides(candidate, relation, this.architecture))
      .toSorted(
        (left, right) =>
          rankOf(left.record.priority) - rankOf(right.record.priority) ||
          compareText(left.record.name, right.record.name),
      );
  }
}

/** A name at the beginning of a Provides field or after a comma. */
const providedName = /(?<=^\s*|,\s*)[a-z0-9][a-z0-9+.-]*/g;

/** True when `candidate` is what the relation names, or provides it. */
export function satisfies(candidate: Candidate, relation: Relation, architecture: string): boolean {
  const { record } = candidate;
  if (record.name === relation.name && satisfiesConstraint(record.version, relation)) return true;
  return provides(candidate, relation, architecture);
}

/** Policy §7.5: provided without a version, it satisfies no constraint. */
function provides({ record }: Candidate, relation: Relation, architecture: string): boolean {
  if (!record.provides.includes(relation.name)) return false;
  return parseDependencies(record.provides, architecture)
    .flat()
    .some(
      (provided) =>
        provided.name === relation.name && satisfiesConstraint(provided.constraint?.version, relation),
    );
}

export function satisfiesConstraint(version: string | undefined, { constraint }: Relation): boolean {
  if (constraint === undefined) return true;
  return version !== undefined && satisfiesVersion(version, constraint.relation, constraint.version);
}

function compareCandidates(left: Candidate, right: Candidate): number {
  if (left.isAutomatic !== right.isAutomatic) return left.isAutomatic ? -1 : 1;
  return compareVersions(right.record.version, left.record.version);
}

/** Policy §2.5. */
const priorities = ['required', 'important', 'standard', 'optional', 'extra'];

function rankOf(priority: string): number {
  const rank = priorities.indexOf(priority);
  return rank < 0 ? priorities.length : rank;
}

/** By code unit: the same order on every machine, whatever its locale. */
export function compareText(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
