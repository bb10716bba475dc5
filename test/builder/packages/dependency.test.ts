import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { formatDependency, parseDependencies } from '../../../builder/packages/dependency.ts';

describe('parseDependencies', () => {
  test('reads alternatives, constraints and qualifiers', () => {
    const parsed = parseDependencies(
      'libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0, perl:any,python3:native (<<3.14)',
      'amd64',
    );
    expect(parsed).toEqual([
      [{ name: 'libc6', constraint: { relation: '>=', version: '2.38' } }],
      [{ name: 'debconf', constraint: { relation: '>=', version: '0.5' } }, { name: 'debconf-2.0' }],
      [{ name: 'perl', qualifier: 'any' }],
      [{ name: 'python3', qualifier: 'native', constraint: { relation: '<<', version: '3.14' } }],
    ]);
  });

  test('leaves out what other architectures need', () => {
    const field = 'a [amd64], b [!amd64], c [arm64 i386] | d [linux-any], e [!arm64 !i386] <!nocheck>';
    expect(parseDependencies(field, 'amd64').map(formatDependency)).toEqual(['a', 'd', 'e']);
    expect(parseDependencies(field, 'arm64').map(formatDependency)).toEqual(['b', 'c | d']);
  });

  test('reads the deprecated signs as at most and at least', () => {
    expect(parseDependencies('a (< 1), b (> 2)', 'amd64').map(formatDependency)).toEqual([
      'a (<= 1)',
      'b (>= 2)',
    ]);
  });

  test('takes an empty field for no dependency', () => {
    expect(parseDependencies(' , ', 'amd64')).toEqual([]);
  });

  test.each(['a b', 'a (1)', 'a (>= )', 'a (>= 1', '| ', '_a', 'a (=> 1)', 'A'])('refuses %j', (field) => {
    expect(() => parseDependencies(field, 'amd64')).toThrow(ProtocolError);
  });

  test('refuses a field without end', () => {
    expect(() => parseDependencies('a, '.repeat(200_000), 'amd64')).toThrow(/exceeds/);
  });

  test('formats what it parsed', () => {
    const text = 'a (>= 1:2-3) | b:any (= 4)';
    expect(parseDependencies(text, 'amd64').map(formatDependency)).toEqual([text]);
  });
});
