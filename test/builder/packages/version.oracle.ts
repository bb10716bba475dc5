/** dpkg itself as the judge of the order of versions. */
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { compareVersions } from '../../../builder/packages/version.ts';

const hasDpkg = spawnSync('dpkg', ['--version']).status === 0;

const versionText = fc
  .tuple(
    fc.option(fc.nat(3)),
    fc.stringMatching(/^[0-9][ab01+.~-]{0,6}[ab01+.~]$/),
    fc.option(fc.stringMatching(/^[ab01+.~]{1,4}$/)),
  )
  .map(
    ([epoch, upstream, revision]) =>
      `${epoch === null ? '' : `${epoch}:`}${upstream}${revision === null ? '' : `-${revision}`}`,
  );

describe.skipIf(!hasDpkg && !process.env['CI'])('compareVersions', () => {
  test('orders versions as dpkg does', () => {
    fc.assert(
      fc.property(versionText, versionText, (left, right) => {
        const isTrue = (operator: string) =>
          spawnSync('dpkg', ['--compare-versions', left, operator, right]).status === 0;
        const order = isTrue('lt') ? -1 : isTrue('gt') ? 1 : 0;
        expect(compareVersions(left, right), `${left} and ${right}`).toBe(order);
      }),
      { numRuns: 400 },
    );
  });
});
