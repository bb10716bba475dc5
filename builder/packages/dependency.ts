/**
 * The syntax of Depends, Pre-Depends, Provides, Conflicts and Breaks (Debian Policy §7.1, deb-control(5)):
 * `a (>= 1) | b:any [amd64], c`. Says what is written; what satisfies it is the resolver's concern.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';
import type { VersionRelation } from './version.ts';

export interface Relation {
  readonly name: string;
  /** After the colon: `any`, `native` or an architecture. */
  readonly qualifier?: string;
  readonly constraint?: { readonly relation: VersionRelation; readonly version: string };
}

/** Any one of them will do; the first is preferred. Never empty. */
export type Dependency = readonly Relation[];

/** The largest field in trixie (a Provides of librust-winapi-dev) has 76 KB. */
const maxFieldLength = 512 * 1024;

const relationPattern =
  /^([a-z0-9][a-z0-9+.-]*)(?::([a-z0-9-]+))?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([A-Za-z0-9][^\s()<=>]*)\s*\))?\s*(?:\[([^\]]*)\])?\s*((?:<[^>]*>\s*)*)$/;

/** `<` and `>` are the deprecated spellings of `<=` and `>=` (deb-control(5)). */
const relations: Readonly<Record<string, VersionRelation>> = {
  '<<': '<<',
  '<': '<=',
  '<=': '<=',
  '=': '=',
  '>=': '>=',
  '>': '>=',
  '>>': '>>',
};

/**
 * Reads a dependency field for one architecture. Alternatives restricted to other architectures are left
 * out, and so is a dependency that has none left.
 * @throws ProtocolError naming the piece that is malformed
 */
export function parseDependencies(field: string, architecture: string): readonly Dependency[] {
  if (field.length > maxFieldLength) {
    throw new ProtocolError(`A dependency field of ${field.length} characters exceeds ${maxFieldLength}`);
  }
  const dependencies: Dependency[] = [];
  for (const group of field.split(',')) {
    if (group.trim() === '') continue;
    const alternatives = group
      .split('|')
      .map((text) => parseRelation(text.trim(), architecture))
      .filter((relation) => relation !== null);
    if (alternatives.length > 0) dependencies.push(alternatives);
  }
  return dependencies;
}

/** One relation, or null when it is restricted to other architectures. */
function parseRelation(text: string, architecture: string): Relation | null {
  const match = relationPattern.exec(text);
  if (match === null) throw new ProtocolError(`${JSON.stringify(text.slice(0, 200))} is not a dependency`);
  const [, name = '', qualifier, sign, version, restriction] = match;
  if (restriction !== undefined && !appliesTo(restriction, architecture)) return null;
  const relation = sign === undefined ? undefined : relations[sign];
  return {
    name,
    ...(qualifier !== undefined && { qualifier }),
    ...(relation !== undefined && version !== undefined && { constraint: { relation, version } }),
  };
}

/** Policy §7.1: either all names are negated, or none. */
function appliesTo(restriction: string, architecture: string): boolean {
  const names = restriction.split(/\s+/).filter((name) => name !== '');
  const matches = (name: string) =>
    [architecture, 'any', 'linux-any', `any-${architecture}`].includes(name.replace(/^!/, ''));
  if (names.every((name) => name.startsWith('!'))) return !names.some(matches);
  return names.some(matches);
}

/** The relation as a person would write it, for messages. */
export function formatRelation(relation: Relation): string {
  const name = relation.qualifier === undefined ? relation.name : `${relation.name}:${relation.qualifier}`;
  if (relation.constraint === undefined) return name;
  return `${name} (${relation.constraint.relation} ${relation.constraint.version})`;
}

export function formatDependency(dependency: Dependency): string {
  return dependency.map(formatRelation).join(' | ');
}
