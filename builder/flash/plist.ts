/**
 * Apple's XML property lists, as far as diskutil(8) writes them: dict, array, string, integer, real, true,
 * false, date and data (the last two as text). PropertyList-1.0.dtd. Pure.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';

export type PlistValue = string | number | boolean | readonly PlistValue[] | PlistDict;
export interface PlistDict {
  readonly [key: string]: PlistValue;
}

/** diskutil nests four deep. */
const maxDepth = 32;
/** Thousands of volumes. */
const maxChars = 4 * 1024 * 1024;

interface Token {
  readonly kind: 'open' | 'close' | 'empty';
  readonly name: string;
  /** What stands between an opening tag and the next tag. */
  readonly text: string;
}

/** @throws ProtocolError when `xml` is no property list */
export function decodePlist(xml: string): PlistValue {
  if (xml.length > maxChars) throw new ProtocolError(`The property list has ${xml.length} characters`);
  const tokens = tokenize(xml);
  let at = 0;
  const refuse = (why: string) => new ProtocolError(`The property list cannot be read: ${why}`);
  const next = (): Token => {
    const token = tokens[at++];
    if (token === undefined) throw refuse('it ends too early');
    return token;
  };
  const close = (name: string) => {
    const token = next();
    if (token.kind !== 'close' || token.name !== name) throw refuse(`</${name}> is missing`);
  };
  const value = (token: Token, depth: number): PlistValue => {
    if (depth > maxDepth) throw refuse('it is nested too deeply');
    const { kind, name, text } = token;
    if (kind === 'close') throw refuse(`</${name}> is out of place`);
    if (name === 'true' || name === 'false') {
      if (kind === 'open') close(name);
      return name === 'true';
    }
    if (name === 'array') {
      const items: PlistValue[] = [];
      for (let item = kind === 'empty' ? null : next(); item !== null; item = next()) {
        if (item.kind === 'close' && item.name === 'array') break;
        items.push(value(item, depth + 1));
      }
      return items;
    }
    if (name === 'dict') {
      const entries: [string, PlistValue][] = [];
      for (let key = kind === 'empty' ? null : next(); key !== null; key = next()) {
        if (key.kind === 'close' && key.name === 'dict') break;
        if (key.name !== 'key') throw refuse(`<${key.name}> stands where a key should`);
        if (key.kind === 'open') close('key');
        entries.push([unescapeXml(key.text), value(next(), depth + 1)]);
      }
      return Object.fromEntries(entries);
    }
    if (!['string', 'integer', 'real', 'date', 'data'].includes(name)) throw refuse(`<${name}> is unknown`);
    if (kind === 'open') close(name);
    if (name !== 'integer' && name !== 'real') return unescapeXml(text);
    const number = Number(text.trim());
    if (text.trim() === '' || !Number.isFinite(number)) throw refuse(`${JSON.stringify(text)} is no number`);
    return number;
  };
  const first = next();
  if (first.kind !== 'open' || first.name !== 'plist') throw refuse('it does not start with <plist>');
  const root = value(next(), 0);
  close('plist');
  return root;
}

function tokenize(xml: string): Token[] {
  const body = xml.replace(/<\?[^>]*\?>|<!--.*?-->|<!DOCTYPE[^>]*>/gs, '');
  return [...body.matchAll(/<(\/?)([A-Za-z]+)[^<>]*?(\/?)>([^<]*)/g)].map((match) => ({
    kind: match[1] === '/' ? 'close' : match[3] === '/' ? 'empty' : 'open',
    name: match[2] ?? '',
    text: match[4] ?? '',
  }));
}

const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|(\w+));/gi, (whole, hex, decimal, name) => {
    if (name !== undefined) return entities[String(name)] ?? String(whole);
    const code = hex === undefined ? Number(decimal) : Number.parseInt(String(hex), 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : String(whole);
  });
}
