/**
 * Dovecot's escaping of fields in tab-separated lines (str_tabescape() in src/lib/strescape.c): SOH is the
 * escape character.
 */

const escapes: Readonly<Record<string, string>> = {
  '\0': '0',
  '\u0001': '1',
  '\t': 't',
  '\r': 'r',
  '\n': 'n',
};
const unescapes: Readonly<Record<string, string>> = { 0: '\0', 1: '\u0001', t: '\t', r: '\r', n: '\n' };

export function escapeTabs(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\0\u0001\t\r\n]/g, (character) => `\u0001${escapes[character]}`);
}

/** An unknown escape stands for its own character, as in Dovecot; one at the very end is dropped. */
export function unescapeTabs(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/\u0001([^]?)/g, (_, character: string) => unescapes[character] ?? character);
}
