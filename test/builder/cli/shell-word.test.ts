import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { shellWord } from '../../../builder/cli/shell-word.ts';

describe('shellWord', () => {
  test.each([
    ['out/chat.example.org-vm-x86_64.img', 'out/chat.example.org-vm-x86_64.img'],
    ['öut/a.img', 'öut/a.img'],
    ['my images/a.img', "'my images/a.img'"],
    ['-out/a.img', './-out/a.img'],
    ['~/a', "'~/a'"],
  ])('%s is typed as %s', (text, word) => {
    expect(shellWord(text, 'linux')).toBe(word);
  });

  test('on Windows quotes are double', () => {
    expect(shellWord('out\\a.img', 'win32')).toBe('out\\a.img');
    expect(shellWord('my images\\a.img', 'win32')).toBe('"my images\\a.img"');
  });

  test.skipIf(process.platform === 'win32').each(['it\'s $HOME `x` "y" \\ *', "''", 'a\nb', '#a', 'a;b'])(
    'a shell reads %j back',
    (text) => {
      const read = execFileSync('sh', ['-c', `printf %s ${shellWord(text)}`], { encoding: 'utf8' });
      expect(read).toBe(text);
    },
  );
});
