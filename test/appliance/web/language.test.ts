import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chooseLanguage, languages, parseAcceptLanguage } from '../../../appliance/web/language.ts';

describe('chooseLanguage', () => {
  test.each([
    [undefined, 'en'],
    ['', 'en'],
    ['de', 'de'],
    ['DE-at', 'de'],
    ['fr-FR, es;q=0.8, en;q=0.5', 'es'],
    ['en;q=0.5, de;q=0.9', 'de'],
    ['en;q=0.5,de;q=0.5', 'en'],
    ['de;q=0.5,en;q=0.5', 'de'],
    ['de;q=0, *', 'en'],
    ['en;q=0, *;q=0.1', 'de'],
    ['*', 'en'],
    ['de;q=0', 'en'],
    ['fr, nl', 'en'],
    ['deu', 'en'],
    ['de;q=0.3, de-CH;q=1, es;q=0.5', 'es'],
    ['de-CH;q=0.2, de-DE;q=0.9, es;q=0.5', 'de'],
    ['de ; q = 0.9 , en;q=0.1', 'de'],
    ['de;q=2, es', 'es'],
    ['de;level=1, es;q=0.1', 'es'],
  ])('takes %j for %s', (header, language) => {
    expect(chooseLanguage(null, header)).toBe(language);
  });

  test('does what was picked on the page, if it is one of ours', () => {
    expect(chooseLanguage('es', 'de')).toBe('es');
    expect(chooseLanguage('xx', 'de')).toBe('de');
  });

  test('answers anything in one of its languages', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (chosen, header) => {
        expect(languages).toContain(chooseLanguage(chosen, header));
      }),
    );
  });
});

describe('parseAcceptLanguage', () => {
  test('reads no more ranges than a browser sends', () => {
    expect(parseAcceptLanguage('de,'.repeat(10_000))).toHaveLength(32);
  });
});
