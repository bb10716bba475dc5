/**
 * Small control files (deb822(5)): a Release, apt's `.sources`. For Packages, which are large, see
 * package-records.ts.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';

/** Field names in lower case; continuation lines are joined by LF, without their first blank. */
export type Stanza = ReadonlyMap<string, string>;

/** Release of trixie: 140 KB. */
const maxTextLength = 16 * 1024 * 1024;

/**
 * Reads the stanzas of a control file. Lines that start with `#` are comments.
 * @throws ProtocolError with the number of the line that is malformed
 */
export function parseControlFile(text: string): readonly Stanza[] {
  if (text.length > maxTextLength) {
    throw new ProtocolError(`A control file of ${text.length} characters exceeds ${maxTextLength}`);
  }
  const stanzas: Stanza[] = [];
  let stanza = new Map<string, string>();
  let field = '';
  let value: string[] = [];
  const endField = () => {
    if (field !== '') stanza.set(field, value.join('\n'));
    field = '';
  };
  const endStanza = () => {
    endField();
    if (stanza.size > 0) stanzas.push(stanza);
    stanza = new Map();
  };
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.startsWith('#')) continue;
    if (/^[ \t]/.test(line) && line.trim() !== '') {
      if (field === '') throw new ProtocolError(`Line ${index + 1} continues a field that is not there`);
      value.push(line.slice(1).trimEnd());
      continue;
    }
    if (line.trim() === '') {
      endStanza();
      continue;
    }
    const match = /^([!-9;-~]+):[ \t]*(.*)$/.exec(line);
    if (match === null) throw new ProtocolError(`Line ${index + 1} is no field: ${line.slice(0, 100)}`);
    endField();
    field = (match[1] ?? '').toLowerCase();
    if (stanza.has(field)) throw new ProtocolError(`Line ${index + 1} gives the field ${match[1]} again`);
    value = [(match[2] ?? '').trimEnd()];
  }
  endStanza();
  return stanzas;
}
