import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import {
  compareVersions,
  satisfiesVersion,
  type VersionRelation,
} from '../../../builder/packages/version.ts';

/** Each line in ascending order; from deb-version(7), Debian Policy §5.6.12 and versions of the archive. */
const ascending = [
  ['~~', '~~a', '~', '0', 'a'],
  ['1.0~~', '1.0~~a', '1.0~', '1.0', '1.0a', '1.0+', '1.0.1'],
  ['1.0~beta1~svn1245', '1.0~beta1', '1.0'],
  ['1.0-1~bpo13+1', '1.0-1', '1.0-1+b1', '1.0-1+deb13u1', '1.0-1.1', '1.0-2', '1.0-10'],
  ['9.9', '10.0', '1:0.1', '2:0'],
  ['6.12.107-1', '7.2.12-1~bpo13+1', '7.2.12-1'],
  ['1.2-4', '1.2-3-4', '1.2-3-5', '1.2.1'],
  ['20240101123456789012345', '20240101123456789012346'],
  ['1.0A', '1.0Z', '1.0a', '1.0z', '1.0+z', '1.0.z'],
  ['0:1-0', '0:1-1'],
  ['2.41-12+deb13u2', '2.41-12+deb13u10'],
];

const equal = [
  ['1.0', '0:1.0'],
  ['1.0', '1.0-0'],
  ['1.00', '1.0'],
  ['1.0-01', '1.0-1'],
  ['0001', '1'],
] as const;

const versionText = fc
  .tuple(
    fc.option(fc.nat(9)),
    fc.stringMatching(/^[0-9][a-z0-9.+~]{0,8}$/),
    fc.option(fc.stringMatching(/^[a-z0-9.+~]{1,5}$/)),
  )
  .map(
    ([epoch, upstream, revision]) =>
      `${epoch === null ? '' : `${epoch}:`}${upstream}${revision === null ? '' : `-${revision}`}`,
  );

describe('compareVersions', () => {
  test.each(ascending.map((versions) => [versions] as const))('puts %j in this order', (versions) => {
    for (const [i, left] of versions.entries()) {
      for (const [j, right] of versions.entries()) {
        expect(compareVersions(left, right), `${left} and ${right}`).toBe(Math.sign(i - j));
      }
    }
  });

  test.each(equal)('takes %s and %s for equal', (left, right) => {
    expect(compareVersions(left, right)).toBe(0);
  });

  test('is a total order', () => {
    fc.assert(
      fc.property(versionText, versionText, versionText, (a, b, c) => {
        expect(compareVersions(a, b)).toBe(-compareVersions(b, a) || 0);
        const [x, y, z] = [a, b, c].sort(compareVersions);
        expect(compareVersions(x ?? '', z ?? '')).toBeLessThanOrEqual(0);
        expect(compareVersions(x ?? '', y ?? '')).toBeLessThanOrEqual(0);
      }),
    );
  });

  test.each(['', '1.0-', 'x y', '1.0_2', ':1', 'a:1', '1'.repeat(300)])('refuses %j', (text) => {
    expect(() => compareVersions(text, '1.0')).toThrow(ProtocolError);
  });
});

describe('satisfiesVersion', () => {
  const cases: readonly [string, VersionRelation, string, boolean][] = [
    ['1.0', '>=', '1.0', true],
    ['1.0~rc1', '>=', '1.0', false],
    ['1.0', '>>', '1.0', false],
    ['1.0', '<=', '1.0', true],
    ['1.0', '<<', '1.0', false],
    ['1.0-1', '=', '1.0', false],
    ['1.0-0', '=', '1.0', true],
  ];
  test.each(cases)('%s %s %s is %s', (version, relation, wanted, expected) => {
    expect(satisfiesVersion(version, relation, wanted)).toBe(expected);
  });
});
