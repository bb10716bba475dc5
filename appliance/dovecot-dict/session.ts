/** One connection of an imap process: lines in, lines out. No sockets. */
import { ProtocolError } from '../base/errors.ts';
import { createLineReader } from '../base/line-reader.ts';
import {
  decodeDictCommand,
  encodeCommitResult,
  encodeValue,
  endOfIteration,
  maxLineBytes,
  notFound,
} from './codec.ts';

/** What is behind the dictionary. Both throw nothing for what a client may ask. */
export interface Dictionary {
  lookup(user: string, key: string): string | null;
  /** `value` null removes. False when this key cannot be written, or not with this value. */
  set(user: string, key: string, value: string | null): boolean;
}

/** One client's imap process has one or two at a time. */
const maxTransactions = 16;
const maxChanges = 64;

interface Transaction {
  readonly user: string;
  readonly changes: { readonly key: string; readonly value: string | null }[];
}

export interface DictSession {
  /** @throws ProtocolError when the peer breaks the protocol: close the connection */
  push(chunk: Uint8Array): void;
}

export function createDictSession(dictionary: Dictionary, write: (text: string) => void): DictSession {
  const reader = createLineReader(maxLineBytes);
  const transactions = new Map<string, Transaction>();

  function transaction(id: string): Transaction {
    const found = transactions.get(id);
    if (found === undefined) throw new ProtocolError(`Dict transaction ${id} was not begun`);
    return found;
  }

  function addChange(id: string, key: string, value: string | null): void {
    const { changes } = transaction(id);
    if (changes.length >= maxChanges) throw new ProtocolError(`Dict transaction ${id} has too many changes`);
    changes.push({ key, value });
  }

  function handle(line: string): void {
    const command = decodeDictCommand(line);
    switch (command.kind) {
      case 'hello':
        if (command.major !== 4) throw new ProtocolError(`Dict protocol version ${command.major} is not 4`);
        return;
      case 'lookup': {
        const value = dictionary.lookup(command.user, command.key);
        return write(value === null ? notFound : encodeValue(value));
      }
      case 'iterate':
        return write(endOfIteration);
      case 'begin':
        if (transactions.size >= maxTransactions || transactions.has(command.id)) {
          throw new ProtocolError(`Dict transaction ${command.id} cannot be begun`);
        }
        transactions.set(command.id, { user: command.user, changes: [] });
        return;
      case 'set':
        return addChange(command.id, command.key, command.value);
      case 'unset':
        return addChange(command.id, command.key, null);
      case 'rollback':
        transactions.delete(command.id);
        return;
      case 'commit': {
        const { user, changes } = transaction(command.id);
        transactions.delete(command.id);
        const refused = changes.filter(({ key, value }) => !dictionary.set(user, key, value));
        const error = refused.length === 0 ? null : 'This entry cannot be changed';
        return write(encodeCommitResult(command.id, command.isAsync, error));
      }
      case 'ignored':
        return;
    }
  }

  return {
    push(chunk) {
      for (const line of reader.push(chunk)) handle(line.toString('utf8'));
    },
  };
}
