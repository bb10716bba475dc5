/**
 * The milter wire format, protocol version 6: every command (MTA to filter) and every reply (filter to MTA),
 * both ways. Pure and synchronous. Source: libmilter's mfdef.h and Postfix's milter8.c. Strings end with NUL.
 *
 *   command        code  payload                              reply          code  payload
 *   abort           A    –                                    accept          a    –
 *   body            B    bytes                                continue        c    –
 *   connect         C    host\0 u8 family [u16 port addr\0]   discard         d    –
 *   macros          D    u8 command, (name\0 value\0)*        reject          r    –
 *   end of body     E    bytes (as body)                      tempfail        t    –
 *   helo            H    name\0                               reply code      y    text\0
 *   quit, new conn  K    –                                    skip            s    –
 *   header          L    name\0 value\0                       progress        p    –
 *   mail            M    (arg\0)+                             shutdown        4    –
 *   end of headers  N    –                                    conn. failure   f    –
 *   negotiate       O    u32 version, actions, protocol       negotiate       O    u32 ×3, (u32 stage, list\0)*
 *   quit            Q    –                                    add header      h    name\0 value\0
 *   rcpt            R    (arg\0)+                             insert header   i    u32 index name\0 value\0
 *   data            T    –                                    change header   m    u32 index name\0 value\0
 *   unknown         U    line\0                               change from     e    addr\0 [args\0]
 *                                                             add/delete rcpt + 2 - addr\0 [args\0 for 2]
 *                                                             replace body    b    bytes
 *                                                             quarantine      q    reason\0
 *
 * Text is kept as latin1, one character a byte, so that nothing is lost in either direction.
 */
import { ProtocolError } from '../base/errors.ts';
import { encodePacket, latin1, type Packet, PayloadReader, string, u16, u32 } from './packet.ts';

export const protocolVersion = 6;

/** What a filter may ask to do to a message (SMFIF_*). */
export const actions = {
  addHeaders: 0x01,
  changeBody: 0x02,
  addRecipients: 0x04,
  deleteRecipients: 0x08,
  changeHeaders: 0x10,
  quarantine: 0x20,
  changeFrom: 0x40,
  addRecipientsWithArgs: 0x80,
  setMacroList: 0x100,
} as const;

/** What a filter does not want to hear of, or will not answer (SMFIP_*). */
export const protocolFlags = {
  noConnect: 0x01,
  noHelo: 0x02,
  noMail: 0x04,
  noRcpt: 0x08,
  noBody: 0x10,
  noHeaders: 0x20,
  noEndOfHeaders: 0x40,
  noReplyHeader: 0x80,
  noUnknown: 0x100,
  noData: 0x200,
  skip: 0x400,
  rejectedRcpts: 0x800,
  noReplyConnect: 0x1000,
  noReplyHelo: 0x2000,
  noReplyMail: 0x4000,
  noReplyRcpt: 0x8000,
  noReplyData: 0x10000,
  noReplyUnknown: 0x20000,
  noReplyEndOfHeaders: 0x40000,
  noReplyBody: 0x80000,
  /** Header values arrive with the space after the colon, and are sent back with it. */
  headerLeadingSpace: 0x100000,
} as const;

export interface Negotiation {
  readonly kind: 'negotiate';
  readonly version: number;
  readonly actions: number;
  readonly protocol: number;
}

export type ConnectCommand =
  | { readonly kind: 'connect'; readonly host: string; readonly family: 'unknown' }
  | {
      readonly kind: 'connect';
      readonly host: string;
      readonly family: 'unix' | 'inet' | 'inet6';
      readonly port: number;
      readonly address: string;
    };

export type Command =
  | Negotiation
  | ConnectCommand
  | { readonly kind: 'macros'; readonly stage: string; readonly macros: ReadonlyMap<string, string> }
  | { readonly kind: 'helo'; readonly name: string }
  /** `address` as on the wire, with its angle brackets; `args` are the ESMTP parameters. */
  | { readonly kind: 'mail' | 'rcpt'; readonly address: string; readonly args: readonly string[] }
  | { readonly kind: 'data' | 'endOfHeaders' | 'abort' | 'quit' | 'quitNewConnection' }
  | { readonly kind: 'unknown'; readonly line: string }
  | { readonly kind: 'header'; readonly name: string; readonly value: string }
  | { readonly kind: 'body' | 'endOfBody'; readonly chunk: Buffer };

export type Reply =
  | Negotiation
  | {
      readonly kind:
        | 'accept'
        | 'continue'
        | 'discard'
        | 'reject'
        | 'tempfail'
        | 'skip'
        | 'progress'
        | 'shutdown'
        | 'connectionFailure';
    }
  /** A whole SMTP reply, `523 5.7.1 text`. The enhanced code is compulsory: Postfix refuses a reply without. */
  | { readonly kind: 'replyCode'; readonly text: string }
  | { readonly kind: 'addHeader'; readonly name: string; readonly value: string }
  /** `index` 0 stands above everything; for `changeHeader` it is the n-th field of that name, from 1. */
  | {
      readonly kind: 'insertHeader' | 'changeHeader';
      readonly index: number;
      readonly name: string;
      readonly value: string;
    }
  | { readonly kind: 'changeFrom'; readonly address: string; readonly args: string }
  | { readonly kind: 'addRecipientWithArgs'; readonly address: string; readonly args: string }
  | { readonly kind: 'addRecipient' | 'deleteRecipient'; readonly address: string }
  | { readonly kind: 'replaceBody'; readonly chunk: Buffer }
  | { readonly kind: 'quarantine'; readonly reason: string };

const bareCommands = { T: 'data', N: 'endOfHeaders', A: 'abort', Q: 'quit', K: 'quitNewConnection' } as const;
const bareReplies = {
  a: 'accept',
  c: 'continue',
  d: 'discard',
  r: 'reject',
  t: 'tempfail',
  s: 'skip',
  p: 'progress',
  '4': 'shutdown',
  f: 'connectionFailure',
} as const;
const families = { U: 'unknown', L: 'unix', '4': 'inet', '6': 'inet6' } as const;

/** @throws ProtocolError when code or payload is not of the format */
export function decodeCommand({ code, payload }: Packet): Command {
  const reader = new PayloadReader(code, payload);
  const command = readCommand(code, reader);
  reader.finish();
  return command;
}

function readCommand(code: string, reader: PayloadReader): Command {
  switch (code) {
    case 'O':
      return readNegotiation(reader);
    case 'C':
      return readConnect(reader);
    case 'D': {
      const stage = String.fromCharCode(reader.u8());
      const macros = new Map<string, string>();
      while (!reader.done) macros.set(bareMacroName(reader.string()), reader.string());
      return { kind: 'macros', stage, macros };
    }
    case 'H':
      return { kind: 'helo', name: reader.string() };
    case 'M':
    case 'R': {
      const address = reader.string();
      return { kind: code === 'M' ? 'mail' : 'rcpt', address, args: reader.strings() };
    }
    case 'U':
      return { kind: 'unknown', line: reader.string() };
    case 'L':
      return { kind: 'header', name: reader.string(), value: reader.string() };
    case 'B':
      return { kind: 'body', chunk: reader.rest() };
    case 'E':
      return { kind: 'endOfBody', chunk: reader.rest() };
    case 'T':
    case 'N':
    case 'A':
    case 'Q':
    case 'K':
      return { kind: bareCommands[code] };
    default:
      throw new ProtocolError(`Unknown milter command ${JSON.stringify(code)}`);
  }
}

/** @throws ProtocolError when code or payload is not of the format */
export function decodeReply({ code, payload }: Packet): Reply {
  const reader = new PayloadReader(code, payload);
  const reply = readReply(code, reader);
  reader.finish();
  return reply;
}

function readReply(code: string, reader: PayloadReader): Reply {
  if (isKeyOf(bareReplies, code)) return { kind: bareReplies[code] };
  switch (code) {
    case 'O': {
      const negotiation = readNegotiation(reader);
      // Lists of macros the filter wishes for: read over, since only an MTA needs them.
      while (!reader.done) {
        reader.u32();
        reader.string();
      }
      return negotiation;
    }
    case 'y':
      // The text was once a printf format, so a percent sign travels doubled.
      return { kind: 'replyCode', text: reader.string().replaceAll('%%', '%') };
    case 'h':
      return { kind: 'addHeader', name: reader.string(), value: reader.string() };
    case 'i':
    case 'm': {
      const index = reader.u32();
      const kind = code === 'i' ? 'insertHeader' : 'changeHeader';
      return { kind, index, name: reader.string(), value: reader.string() };
    }
    case 'e':
    case '2': {
      const address = reader.string();
      const args = reader.done ? '' : reader.string();
      return { kind: code === 'e' ? 'changeFrom' : 'addRecipientWithArgs', address, args };
    }
    case '+':
      return { kind: 'addRecipient', address: reader.string() };
    case '-':
      return { kind: 'deleteRecipient', address: reader.string() };
    case 'b':
      return { kind: 'replaceBody', chunk: reader.rest() };
    case 'q':
      return { kind: 'quarantine', reason: reader.string() };
    default:
      throw new ProtocolError(`Unknown milter reply ${JSON.stringify(code)}`);
  }
}

/** @throws RangeError when a string holds a NUL or the packet would be larger than `maxPacketBytes` */
export function encodeCommand(command: Command): Buffer {
  switch (command.kind) {
    case 'negotiate':
      return encodePacket('O', u32(command.version), u32(command.actions), u32(command.protocol));
    case 'connect':
      if (command.family === 'unknown') return encodePacket('C', string(command.host), latin1('U'));
      return encodePacket(
        'C',
        string(command.host),
        latin1(keyOf(families, command.family)),
        u16(command.port),
        string(command.address),
      );
    case 'macros':
      return encodePacket(
        'D',
        latin1(command.stage),
        ...[...command.macros].flatMap(([name, value]) => [string(wireMacroName(name)), string(value)]),
      );
    case 'helo':
      return encodePacket('H', string(command.name));
    case 'mail':
    case 'rcpt':
      return encodePacket(
        command.kind === 'mail' ? 'M' : 'R',
        string(command.address),
        ...command.args.map((arg) => string(arg)),
      );
    case 'unknown':
      return encodePacket('U', string(command.line));
    case 'header':
      return encodePacket('L', string(command.name), string(command.value));
    case 'body':
    case 'endOfBody':
      return encodePacket(command.kind === 'body' ? 'B' : 'E', command.chunk);
    default:
      return encodePacket(keyOf(bareCommands, command.kind));
  }
}

/** @throws RangeError when a string holds a NUL or the packet would be larger than `maxPacketBytes` */
export function encodeReply(reply: Reply): Buffer {
  switch (reply.kind) {
    case 'negotiate':
      return encodePacket('O', u32(reply.version), u32(reply.actions), u32(reply.protocol));
    case 'replyCode':
      return encodePacket('y', string(reply.text.replaceAll('%', '%%')));
    case 'addHeader':
      return encodePacket('h', string(reply.name), string(reply.value));
    case 'insertHeader':
    case 'changeHeader':
      return encodePacket(
        reply.kind === 'insertHeader' ? 'i' : 'm',
        u32(reply.index),
        string(reply.name),
        string(reply.value),
      );
    case 'changeFrom':
    case 'addRecipientWithArgs':
      return encodePacket(
        reply.kind === 'changeFrom' ? 'e' : '2',
        string(reply.address),
        ...(reply.args === '' ? [] : [string(reply.args)]),
      );
    case 'addRecipient':
    case 'deleteRecipient':
      return encodePacket(reply.kind === 'addRecipient' ? '+' : '-', string(reply.address));
    case 'replaceBody':
      return encodePacket('b', reply.chunk);
    case 'quarantine':
      return encodePacket('q', string(reply.reason));
    default:
      return encodePacket(keyOf(bareReplies, reply.kind));
  }
}

function readNegotiation(reader: PayloadReader): Negotiation {
  return { kind: 'negotiate', version: reader.u32(), actions: reader.u32(), protocol: reader.u32() };
}

function readConnect(reader: PayloadReader): ConnectCommand {
  const host = reader.string();
  const letter = String.fromCharCode(reader.u8());
  if (!isKeyOf(families, letter)) {
    throw new ProtocolError(`Unknown milter address family ${JSON.stringify(letter)}`);
  }
  const family = families[letter];
  if (family === 'unknown') return { kind: 'connect', host, family };
  return { kind: 'connect', host, family, port: reader.u16(), address: reader.string() };
}

/** Names longer than one letter travel in braces, `{auth_authen}`; here they have none. */
function bareMacroName(name: string): string {
  return /^\{(.*)\}$/.exec(name)?.[1] ?? name;
}

function wireMacroName(name: string): string {
  return name.length === 1 ? name : `{${name}}`;
}

function isKeyOf<T extends object>(table: T, key: string): key is Extract<keyof T, string> {
  return Object.hasOwn(table, key);
}

function keyOf<T extends Record<string, string>>(table: T, value: T[keyof T]): string {
  for (const [key, candidate] of Object.entries(table)) if (candidate === value) return key;
  throw new TypeError(`No milter code for ${value}`);
}
