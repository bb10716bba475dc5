/** Which of our languages a visitor reads: `?lang=`, then Accept-Language (RFC 9110 §12.5.4, RFC 4647 §3.4). */

export const languages = ['en', 'de', 'es'] as const;
export type Language = (typeof languages)[number];

/** Browsers send a handful; the rest is somebody's game. */
const maxRanges = 32;

const rangePattern =
  /^\s*([a-z]{1,8}(?:-[a-z0-9]{1,8})*|\*)\s*(?:;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?$/i;

interface LanguageRange {
  /** Lower case; `*` for any. */
  readonly tag: string;
  /** From 0, not wanted at all, to 1. */
  readonly quality: number;
}

/** The ranges of an Accept-Language header in its order; what is malformed is left out. */
export function parseAcceptLanguage(header: string): readonly LanguageRange[] {
  return header
    .split(',', maxRanges)
    .map((text) => rangePattern.exec(text))
    .filter((match) => match !== null)
    .map(([, tag = '', quality]) => ({ tag: tag.toLowerCase(), quality: Number(quality ?? 1) }));
}

/** True for a `?lang=` that is one of ours. */
export function isLanguage(text: string | null): text is Language {
  return languages.some((language) => language === text);
}

/**
 * The language to answer in, English where none of ours is wanted.
 * @param chosen what the visitor picked on the page
 */
export function chooseLanguage(chosen: string | null, acceptLanguage: string | undefined): Language {
  if (isLanguage(chosen)) return chosen;
  const ranges = parseAcceptLanguage(acceptLanguage ?? '');
  const any = ranges.find(({ tag }) => tag === '*');
  const wishes = languages.map((language) => {
    // `de-AT` is content with `de`; `de` itself says most about `de`.
    const own =
      ranges.find(({ tag }) => tag === language) ??
      ranges
        .filter(({ tag }) => tag.startsWith(`${language}-`))
        .toSorted((one, other) => other.quality - one.quality)[0];
    const range = own ?? any;
    const place = range === undefined ? Number.POSITIVE_INFINITY : ranges.indexOf(range);
    return { language, quality: range?.quality ?? 0, place };
  });
  const [best] = wishes
    .filter(({ quality }) => quality > 0)
    .toSorted((one, other) => other.quality - one.quality || one.place - other.place);
  return best?.language ?? 'en';
}
