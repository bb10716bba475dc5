import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { readArMembers } from '../../../builder/formats/ar.ts';
import { bytesSource } from '../../../builder/formats/random-access.ts';

/** One member as ar(5) lays it out. */
function member(name: string, content: string, overrides: { size?: string; end?: string } = {}): string {
  const size = overrides.size ?? String(content.length);
  const header = `${name.padEnd(16)}${'1700000000'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}`;
  return (
    header + size.padEnd(10) + (overrides.end ?? '`\n') + content + (content.length % 2 === 1 ? '\n' : '')
  );
}

const read = (...members: string[]) =>
  readArMembers(bytesSource(Buffer.from(`!<arch>\n${members.join('')}`, 'latin1'), 'x.deb'));

const deb = [
  member('debian-binary', '2.0\n'),
  member('control.tar.xz', 'odd'),
  member('data.tar.xz', 'data'),
];

describe('readArMembers', () => {
  test('lists the members of a package with the place of their bytes', async () => {
    expect(await read(...deb)).toEqual([
      { name: 'debian-binary', offset: 68, sizeBytes: 4, mtimeSec: 1700000000 },
      { name: 'control.tar.xz', offset: 132, sizeBytes: 3, mtimeSec: 1700000000 },
      { name: 'data.tar.xz', offset: 196, sizeBytes: 4, mtimeSec: 1700000000 },
    ]);
    expect(await read()).toEqual([]);
  });

  test('the GNU slash after a name is dropped', async () => {
    expect((await read(member('data.tar/', 'x')))[0]?.name).toBe('data.tar');
  });

  test('an archive cut anywhere but after a member is refused', async () => {
    const whole = Buffer.from(`!<arch>\n${deb.join('')}`, 'latin1');
    // The last byte of the odd member is padding, which some writers leave out at the end.
    const ends = new Set([8, 72, 135, 136, whole.length]);
    for (let length = 0; length <= whole.length; length++) {
      const result = readArMembers(bytesSource(whole.subarray(0, length)));
      if (ends.has(length)) await result;
      else await expect(result, `cut at ${length}`).rejects.toThrow(ProtocolError);
    }
  });

  test.each([
    ['a broken header', [member('a', '', { end: 'xx' })], 'broken header at 8'],
    ['a size that is no number', [member('a', '', { size: '-1' })], 'size is "-1"'],
    ['an empty size', [member('a', '', { size: '' })], 'size is ""'],
    ['a size beyond the end', [member('a', 'x', { size: '9999999999' })], 'ends inside member "a"'],
    ['two members of one name', [member('a', ''), member('a', '')], 'two members "a"'],
    ['a long name', [member('#1/20', '')], 'unsupported member name'],
    ['a name with a slash', [member('a/b', '')], 'unsupported member name'],
    ['an empty name', [member('', '')], 'unsupported member name'],
    ['too many members', Array.from({ length: 65 }, (_, i) => member(`m${i}`, '')), 'more than 64 members'],
  ])('%s is refused', async (_, members, message) => {
    await expect(read(...members)).rejects.toThrow(message);
  });

  test('something else is not an ar archive', async () => {
    await expect(readArMembers(bytesSource(Buffer.from('PK..........')))).rejects.toThrow(
      'not an ar archive',
    );
  });
});
