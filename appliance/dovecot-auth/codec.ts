/**
 * The server's half of the Dovecot authentication protocol, version 1, as Postfix speaks it (Dovecot's
 * "Authentication Protocol" developer document; Postfix src/xsasl/xsasl_dovecot_server.c): lines of
 * tab-separated fields. PLAIN only: it is what chatmail clients use, and the tunnel is TLS.
 *
 * The escapes of later protocol versions are not needed: Postfix writes no tab into a field.
 */
import { ProtocolError } from '../base/errors.ts';

/**
 * AUTH line: base64 of three strings (authorization and authentication identity, password) plus some
 * parameters. Postfix itself takes no longer line from its client than 12,288 characters.
 */
export const maxLineBytes = 16_384;

/** RFC 5321 §4.5.3.1.3: a path is 256 octets, with its angle brackets. */
const maxUsernameLength = 254;

export type ClientLine =
  | { readonly kind: 'version'; readonly major: number }
  | { readonly kind: 'pid' }
  | {
      readonly kind: 'auth';
      readonly id: string;
      readonly mechanism: string;
      /** Base64, or null when the client sends it in a CONT line. */
      readonly response: string | null;
    }
  | { readonly kind: 'continue'; readonly id: string; readonly response: string }
  | { readonly kind: 'cancel'; readonly id: string }
  | { readonly kind: 'unknown' };

/** "The id is a 32-bit number". */
function decodeId(text: string | undefined): string {
  if (text === undefined || !/^\d{1,10}$/.test(text))
    throw new ProtocolError('Authentication request without an id');
  return text;
}

/** Reads one line without its newline. @throws ProtocolError */
export function decodeClientLine(line: string): ClientLine {
  const [command, ...fields] = line.split('\t');
  switch (command) {
    case 'VERSION':
      return { kind: 'version', major: Number(fields[0]) };
    case 'CPID':
      return { kind: 'pid' };
    case 'AUTH': {
      const [id, mechanism = '', ...parameters] = fields;
      // "resp=" is by definition the last parameter, and may itself hold '='.
      const response = parameters.find((parameter) => parameter.startsWith('resp='));
      return { kind: 'auth', id: decodeId(id), mechanism, response: response?.slice(5) ?? null };
    }
    case 'CONT':
      return { kind: 'continue', id: decodeId(fields[0]), response: fields[1] ?? '' };
    case 'CANCEL':
      return { kind: 'cancel', id: decodeId(fields[0]) };
    default:
      // "Unknown commands must be ignored".
      return { kind: 'unknown' };
  }
}

export interface PlainCredentials {
  readonly username: string;
  readonly password: string;
}

/**
 * SASL PLAIN (RFC 4616): [authzid] NUL authcid NUL passwd. Null when malformed, or when one user asks to
 * act as another, which nobody may here.
 */
export function decodePlain(base64: string): PlainCredentials | null {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return null;
  const parts = Buffer.from(base64, 'base64').toString('utf8').split('\0');
  if (parts.length !== 3) return null;
  const [authorization = '', username = '', password = ''] = parts;
  if (username === '' || password === '' || username.length > maxUsernameLength) return null;
  if (authorization !== '' && authorization !== username) return null;
  return { username, password };
}

export interface Greeting {
  readonly pid: number;
  readonly connectionId: number;
  /** 16 bytes in hexadecimal. */
  readonly cookie: string;
}

/** What the server says first, and once. */
export function encodeGreeting(greeting: Greeting): string {
  return [
    'VERSION\t1\t2',
    'MECH\tPLAIN\tplaintext',
    `SPID\t${greeting.pid}`,
    `CUID\t${greeting.connectionId}`,
    `COOKIE\t${greeting.cookie}`,
    'DONE',
    '',
  ].join('\n');
}

export const encodeContinue = (id: string): string => `CONT\t${id}\t\n`;

export const encodeAccepted = (id: string, address: string): string => `OK\t${id}\tuser=${address}\n`;

/** `temporary` becomes 454 at Postfix, else it is 535. The name is left out: only a log would show it. */
export function encodeFailed(id: string, options?: { readonly temporary: boolean }): string {
  return `FAIL\t${id}${options?.temporary === true ? '\ttemp' : ''}\n`;
}
