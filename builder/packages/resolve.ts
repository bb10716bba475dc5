/**
 * From the packages an image wants to the closed set of packages it is made of. Pure and deterministic.
 * Simpler than apt: nothing is installed yet, Recommends do not count, and where a choice turns out to
 * clash with a later constraint the whole is done again with that constraint known.
 */
import { ConfigError } from '../../appliance/base/errors.ts';
import { type Dependency, formatDependency, parseDependencies, type Relation } from './dependency.ts';
import { PackageError } from './errors.ts';
import {
  type Candidate,
  compareText,
  type PackageUniverse,
  satisfies,
  satisfiesConstraint,
} from './universe.ts';

export interface ResolveRequest {
  /** Packages that are followed to all they depend on: `postfix`, or `linux-image-arm64/trixie-backports`. */
  readonly wanted: readonly string[];
  /** Packages that are taken by themselves, for single files of theirs. */
  readonly alone: readonly string[];
  /** Packages (or virtual packages) that are left out although something depends on them, and why. */
  readonly excludes: Readonly<Record<string, string>>;
}

export interface ExcludedPackage {
  readonly name: string;
  readonly reason: string;
  /** Packages of the set that depend on it, sorted. */
  readonly wantedBy: readonly string[];
}

export interface Resolution {
  /** Sorted by name. */
  readonly packages: readonly Candidate[];
  readonly alone: readonly Candidate[];
  readonly excluded: readonly ExcludedPackage[];
  /** Excludes that kept nothing out: they can be taken off the list. */
  readonly unusedExcludes: readonly string[];
}

/** Every round adds a constraint that the one before missed; an archive in order needs two or three. */
const maxRounds = 50;

/**
 * Resolves `request`.
 * @throws PackageError (unresolvable) with the chain of packages that led to what cannot be satisfied;
 *   ConfigError when the request contradicts itself
 */
export function resolvePackages(universe: PackageUniverse, request: ResolveRequest): Resolution {
  for (const wanted of [...request.wanted, ...request.alone]) {
    const { name } = splitPin(wanted);
    if (Object.hasOwn(request.excludes, name)) {
      throw new ConfigError(
        'excludes',
        `The package ${name} is both wanted and excluded`,
        'Take it off one of the two lists',
      );
    }
  }
  const learned: Requirement[] = [];
  for (let round = 0; round < maxRounds; round++) {
    const outcome = new Round(universe, request, learned).run();
    if (outcome.kind === 'resolved') return outcome.resolution;
    learned.push(outcome.requirement);
  }
  throw unresolvable(
    `The packages wanted need each other in ${maxRounds} contradicting versions, the last being ${learned.at(-1)?.relation.name}`,
  );
}

interface Requirement {
  readonly relation: Relation;
  readonly by: string;
}

type Outcome =
  | { readonly kind: 'resolved'; readonly resolution: Resolution }
  | { readonly kind: 'clash'; readonly requirement: Requirement };

/** Thrown to leave a round whose choices turned out too old or too new. */
class Clash extends Error {
  readonly requirement: Requirement;
  constructor(requirement: Requirement) {
    super();
    this.requirement = requirement;
  }
}

class Round {
  readonly #universe: PackageUniverse;
  readonly #request: ResolveRequest;
  readonly #learned: readonly Requirement[];
  readonly #pins = new Map<string, string>();
  readonly #chosen = new Map<string, Candidate>();
  /** Which package brought this one in; nothing for those that are wanted. */
  readonly #parents = new Map<string, string | undefined>();
  readonly #queue: Candidate[] = [];
  readonly #excluded = new Map<string, Set<string>>();

  constructor(universe: PackageUniverse, request: ResolveRequest, learned: readonly Requirement[]) {
    this.#universe = universe;
    this.#request = request;
    this.#learned = learned;
    for (const wanted of [...request.wanted, ...request.alone]) {
      const { name, suite } = splitPin(wanted);
      if (suite !== undefined) this.#pins.set(name, suite);
    }
  }

  run(): Outcome {
    try {
      return { kind: 'resolved', resolution: this.#resolve() };
    } catch (error) {
      if (error instanceof Clash) return { kind: 'clash', requirement: error.requirement };
      throw error;
    }
  }

  #resolve(): Resolution {
    // All that is wanted comes first, so that alternatives and virtual packages prefer it.
    for (const wanted of this.#request.wanted.toSorted(compareText)) {
      this.#choose(this.#bestOfWanted(wanted), undefined);
    }
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      for (const dependency of this.#dependenciesOf(next)) this.#satisfy(dependency, next);
    }
    this.#checkConflicts();
    const byName = (left: Candidate, right: Candidate) => compareText(left.record.name, right.record.name);
    const { excludes } = this.#request;
    return {
      packages: [...this.#chosen.values()].toSorted(byName),
      alone: this.#request.alone.map((wanted) => this.#bestOfWanted(wanted)).toSorted(byName),
      excluded: [...this.#excluded]
        .map(([name, wantedBy]) => ({
          name,
          reason: excludes[name] ?? '',
          wantedBy: [...wantedBy].toSorted(compareText),
        }))
        .toSorted((left, right) => compareText(left.name, right.name)),
      unusedExcludes: Object.keys(excludes)
        .filter((name) => !this.#excluded.has(name))
        .toSorted(compareText),
    };
  }

  #dependenciesOf({ record }: Candidate): readonly Dependency[] {
    const { architecture } = this.#universe;
    return [record.preDepends, record.depends].flatMap((field) => parseDependencies(field, architecture));
  }

  #bestOfWanted(wanted: string): Candidate {
    const { name, suite } = splitPin(wanted);
    const best = this.#eligible({ name })[0];
    if (best !== undefined) return best;
    const place = suite === undefined ? 'no suite has it' : `${suite} does not have it`;
    throw unresolvable(`The package ${name} is wanted, but ${place}${this.#versionsOf(name)}`);
  }

  /** The candidates that a relation names, best first, as far as pins and learned constraints allow. */
  #eligible(relation: Relation): readonly Candidate[] {
    const pin = this.#pins.get(relation.name);
    return this.#universe
      .named(relation.name)
      .filter(
        (candidate) =>
          (pin === undefined || candidate.suite === pin) &&
          satisfiesConstraint(candidate.record.version, relation) &&
          this.#learned
            .filter((requirement) => requirement.relation.name === relation.name)
            .every((requirement) => satisfiesConstraint(candidate.record.version, requirement.relation)),
      );
  }

  #choose(candidate: Candidate, parent: string | undefined): void {
    if (this.#chosen.has(candidate.record.name)) return;
    this.#chosen.set(candidate.record.name, candidate);
    this.#parents.set(candidate.record.name, parent);
    this.#queue.push(candidate);
  }

  #satisfy(dependency: Dependency, dependent: Candidate): void {
    const { architecture } = this.#universe;
    const usable = dependency.filter(({ qualifier }) => isOurs(qualifier, architecture));
    if (usable.some((relation) => this.#isSatisfied(relation))) return;
    // What is excluded counts as present: it is preferred to bringing in something else.
    if (usable.some((relation) => this.#isLeftOut(relation, dependent))) return;
    for (const relation of usable) {
      const best = this.#eligible(relation)[0];
      if (best !== undefined) {
        // The one chosen earlier does not satisfy this: begin again, knowing that it has to.
        if (this.#chosen.has(relation.name)) throw new Clash({ relation, by: dependent.record.name });
        return this.#choose(best, dependent.record.name);
      }
      const provider = this.#universe
        .providing(relation)
        .find(({ record }) => !this.#chosen.has(record.name));
      if (provider !== undefined) return this.#choose(provider, dependent.record.name);
    }
    throw unresolvable(
      `${this.#chainTo(dependent)} needs ${formatDependency(dependency)}, which nothing satisfies${dependency
        .map(({ name }) => this.#versionsOf(name))
        .join('')}`,
    );
  }

  #isSatisfied(relation: Relation): boolean {
    const { architecture } = this.#universe;
    return [...this.#chosen.values()].some((chosen) => satisfies(chosen, relation, architecture));
  }

  /** True when what the relation names, or one of its providers, is excluded; remembers for whom. */
  #isLeftOut(relation: Relation, dependent: Candidate): boolean {
    const names = [relation.name, ...this.#universe.providing(relation).map(({ record }) => record.name)];
    const name = names.find((one) => Object.hasOwn(this.#request.excludes, one));
    if (name === undefined) return false;
    const wantedBy = this.#excluded.get(name) ?? new Set();
    wantedBy.add(dependent.record.name);
    this.#excluded.set(name, wantedBy);
    return true;
  }

  /** Policy §7.3, §7.4: a package never conflicts with itself, not even by what it provides. */
  #checkConflicts(): void {
    const { architecture } = this.#universe;
    for (const candidate of this.#chosen.values()) {
      const { record } = candidate;
      const relations = [record.conflicts, record.breaks].flatMap((field) =>
        parseDependencies(field, architecture).flat(),
      );
      for (const relation of relations) {
        const other = [...this.#chosen.values()].find(
          (chosen) => chosen !== candidate && satisfies(chosen, relation, architecture),
        );
        if (other === undefined) continue;
        throw unresolvable(
          `${this.#chainTo(candidate)} cannot be together with ${this.#chainTo(other)} ${other.record.version}: it conflicts with ${formatDependency([relation])}`,
        );
      }
    }
  }

  /** `postfix → libpq5 → libldap2 2.6.10`. */
  #chainTo(candidate: Candidate): string {
    const chain: string[] = [];
    for (
      let name: string | undefined = candidate.record.name;
      name !== undefined;
      name = this.#parents.get(name)
    ) {
      chain.unshift(name);
    }
    return chain.join(' → ');
  }

  #versionsOf(name: string): string {
    const found = this.#universe.named(name).map(({ record, suite }) => `${record.version} in ${suite}`);
    return found.length === 0 ? `; there is no package ${name}` : `; of ${name} there is ${found.join(', ')}`;
  }
}

/** `:any` and `:native` are ours as well, since there is but one architecture (Policy §7.1). */
function isOurs(qualifier: string | undefined, architecture: string): boolean {
  return qualifier === undefined || [architecture, 'any', 'native', 'all'].includes(qualifier);
}

/** `linux-image-arm64/trixie-backports` without its suite. */
export function withoutPin(wanted: string): string {
  return splitPin(wanted).name;
}

function splitPin(wanted: string): { name: string; suite: string | undefined } {
  const [name = '', suite] = wanted.split('/');
  return { name, suite };
}

function unresolvable(message: string): PackageError {
  return new PackageError(
    'unresolvable',
    message,
    'Run it again with --refresh, since the mirror may be in the middle of an update; if it stays, mend the package lists in images/',
  );
}
