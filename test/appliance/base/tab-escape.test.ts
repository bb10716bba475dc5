import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { escapeTabs, unescapeTabs } from '../../../appliance/base/tab-escape.ts';

describe('escapeTabs and unescapeTabs', () => {
  test('write what Dovecot writes', () => {
    expect(escapeTabs('a\tb\nc\rd\u0001e\0f')).toBe('a\u0001tb\u0001nc\u0001rd\u00011e\u00010f');
  });

  test('read back what was written, whatever it is, without a tab or line end in between', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('\0', '\u0001', '\t', '\r', '\n', '0', 't', 'x') }),
        (text) => {
          expect(escapeTabs(text)).not.toMatch(/[\0\t\r\n]/);
          expect(unescapeTabs(escapeTabs(text))).toBe(text);
        },
      ),
    );
  });

  test('drop an escape that has nothing behind it', () => {
    expect(unescapeTabs('a\u0001')).toBe('a');
    expect(unescapeTabs('\u0001q')).toBe('q');
  });
});
