/** Takes the secrets out of the seed's text, leaving the rest of it, comments included, as its author wrote it. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { type Config, parseConfigText, toDocument } from '../contract/config.ts';

const text = /"(?:\\.|[^"\\\n])*"/.source;
const comment = /\/\/[^\n]*|\/\*[^]*?\*\//.source;
/** An object of texts, as far as needed to find its end: braces in texts and comments are none. */
const flatObject = `\\{(?:${text}|${comment}|[^"/}])*\\}`;
const secretMember = `"(?:dkim(?:Ed25519)?Key|wifiPassword)"\\s*:\\s*${text}|"dnsCredentials"\\s*:\\s*${flatObject}`;
/** A member of `secrets` with the comma after it, or else a JSON string or a comment. */
const token = new RegExp(`((?:${secretMember})(?:\\s*,)?)|${text}|${comment}`, 'g');

/**
 * @param seed valid, and parses to `config`
 * @returns the seed without what is in `secrets`; a plain document where that cannot be cut out cleanly
 */
export function scrubSeed(seed: string, config: Config): string {
  const clean: Config = { ...config, secrets: {} };
  const cut = seed.replace(token, (match: string, member?: string) => (member === undefined ? match : ''));
  try {
    if (isDeepStrictEqual(parseConfigText(cut), clean)) return cut;
  } catch {
    // Falls through to the plain document.
  }
  return `${JSON.stringify(toDocument(clean), undefined, 2)}\n`;
}
