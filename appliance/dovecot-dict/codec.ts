/**
 * Dovecot's dict protocol, version 4, the server's half (Dovecot src/lib-dict/dict-client.h): each line a
 * command letter and tab-separated, escaped fields.
 *
 *     H major minor type user dict   hello        L key user     look up → O value | N
 *     B id user expire               begin        S id key value · U id key
 *     C id · D id (asynchronous)     commit → O id | F id error            R id    roll back
 */
import { ProtocolError } from '../base/errors.ts';
import { escapeTabs, unescapeTabs } from '../base/tab-escape.ts';

/** A push token takes up to 4 KiB; escaping at most doubles it. */
export const maxLineBytes = 16_384;

export type DictCommand =
  | { readonly kind: 'hello'; readonly major: number }
  | { readonly kind: 'lookup'; readonly key: string; readonly user: string }
  | { readonly kind: 'iterate' }
  | { readonly kind: 'begin'; readonly id: string; readonly user: string }
  | { readonly kind: 'set'; readonly id: string; readonly key: string; readonly value: string }
  | { readonly kind: 'unset'; readonly id: string; readonly key: string }
  | { readonly kind: 'commit'; readonly id: string; readonly isAsync: boolean }
  | { readonly kind: 'rollback'; readonly id: string }
  /** Timestamps, hints for logs: nothing to do, nothing to answer. */
  | { readonly kind: 'ignored' };

/** Reads one line without its newline. @throws ProtocolError */
export function decodeDictCommand(line: string): DictCommand {
  const fields = line.slice(1).split('\t').map(unescapeTabs);
  const need = (index: number): string => {
    const field = fields[index];
    if (field === undefined)
      throw new ProtocolError(`Dict command ${JSON.stringify(line[0])} has too few fields`);
    return field;
  };
  switch (line[0]) {
    case 'H':
      return { kind: 'hello', major: Number(need(0)) };
    case 'L':
      return { kind: 'lookup', key: need(0), user: fields[1] ?? '' };
    case 'I':
      return { kind: 'iterate' };
    case 'B':
      return { kind: 'begin', id: need(0), user: fields[1] ?? '' };
    case 'S':
      return { kind: 'set', id: need(0), key: need(1), value: need(2) };
    case 'U':
      return { kind: 'unset', id: need(0), key: need(1) };
    case 'C':
    case 'D':
      return { kind: 'commit', id: need(0), isAsync: line[0] === 'D' };
    case 'R':
      return { kind: 'rollback', id: need(0) };
    case 'T':
    case 'V':
      return { kind: 'ignored' };
    default:
      throw new ProtocolError(`Unknown dict command ${JSON.stringify(line.slice(0, 1))}`);
  }
}

export const encodeValue = (value: string): string => `O${escapeTabs(value)}\n`;
export const notFound = 'N\n';
/** An empty line ends an iteration. */
export const endOfIteration = '\n';

/** The answer to a commit; asynchronous ones are marked, since answers may overtake them. */
export function encodeCommitResult(id: string, isAsync: boolean, error: string | null): string {
  const mark = isAsync ? 'A' : '';
  return error === null ? `${mark}O${id}\n` : `${mark}F${id}\t${escapeTabs(error)}\n`;
}
