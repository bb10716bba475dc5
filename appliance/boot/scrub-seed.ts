/** Takes the secrets out of the seed's text, leaving the rest of it, comments included, as its author wrote it. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { type Config, parseConfigText, toDocument } from '../contract/config.ts';

/** A JSON string, a comment, or the member `"dkimKey": "…"` with the comma after it. */
const token = /("dkimKey"\s*:\s*"(?:\\.|[^"\\])*"(?:\s*,)?)|"(?:\\.|[^"\\\n])*"|\/\/[^\n]*|\/\*[^]*?\*\//g;

/**
 * @param text a valid seed that parses to `config`
 * @returns the text without `secrets.dkimKey`; a plain document where that cannot be cut out cleanly
 */
export function scrubSeed(text: string, config: Config): string {
  const clean: Config = { ...config, secrets: {} };
  const cut = text.replace(token, (match: string, member?: string) => (member === undefined ? match : ''));
  try {
    if (isDeepStrictEqual(parseConfigText(cut), clean)) return cut;
  } catch {
    // Falls through to the plain document.
  }
  return `${JSON.stringify(toDocument(clean), undefined, 2)}\n`;
}
