/**
 * The filter's side of one milter connection: what may follow what, collecting a message, and what to answer.
 * Knows nothing of sockets. A connection carries several messages, and after `quitNewConnection` several
 * SMTP sessions. Source: libmilter's mfdef.h, Postfix's milter8.c and README_FILES/MILTER_README.
 */
import { type ByteAccount, type ByteBudget } from '../base/byte-budget.ts';
import { ProtocolError } from '../base/errors.ts';
import {
  actions,
  type Command,
  type ConnectCommand,
  type Negotiation,
  protocolFlags,
  protocolVersion,
  type Reply,
} from './codec.ts';

/** A header field as it stands in the message: `value` starts right after the colon, folds are CRLF. Latin1. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

/** What is known of a message before its content. */
export interface MilterTransaction {
  /** The SMTP client; null when the MTA did not tell. */
  readonly client: ConnectCommand | null;
  /** Macro values by bare name: `auth_authen`, `daemon_name`, `i` (the queue ID) … */
  readonly macros: ReadonlyMap<string, string>;
  /** Envelope sender without angle brackets; empty for the null sender. */
  readonly sender: string;
  /** Envelope recipients, without angle brackets, that were not refused. */
  readonly recipients: readonly string[];
}

export interface MilterMessage extends MilterTransaction {
  readonly headers: readonly HeaderField[];
  /** Everything after the empty line, CRLF line ends as Postfix sends them. */
  readonly body: Buffer;
}

/** A change to a message. Indices as in milter: `changeHeader` counts fields of that name from 1. */
export type MilterEdit = Extract<
  Reply,
  { kind: 'addHeader' | 'insertHeader' | 'changeHeader' | 'changeFrom' }
>;

export type MilterVerdict =
  | { readonly kind: 'accept'; readonly edits: readonly MilterEdit[] }
  /** `reply` is a whole SMTP reply with its enhanced code, 4xx or 5xx: `523 5.7.1 text`. */
  | { readonly kind: 'reject'; readonly reply: string };

/** What a milter decides. */
export interface MilterHandler {
  /** Asked at each RCPT; a reply (as in `MilterVerdict`) refuses this recipient, null takes it. */
  recipient(transaction: MilterTransaction, recipient: string): string | null;
  /** Asked once the whole message is there. What it throws becomes a 451 for the client. */
  message(message: MilterMessage, options: { readonly signal: AbortSignal }): Promise<MilterVerdict>;
}

export interface MilterLimits {
  /** Header and body together; a larger message gets 552. */
  readonly maxMessageBytes: number;
  /** Shared by all sessions; a message that does not fit gets 451. */
  readonly budget: ByteBudget;
  readonly maxRecipients: number;
}

/** The header section alone: far above what clients send (Autocrypt is the largest, some KB). */
export const maxHeaderSectionBytes = 256 * 1024;
/** Lines of the header section, continuation lines included: a thousand recipients fit twice. */
export const maxHeaderLines = 4000;

const wantedActions = actions.addHeaders | actions.changeHeaders | actions.changeFrom;
/** Without these the bytes of a message cannot be known or kept. */
const neededProtocol = protocolFlags.headerLeadingSpace;
/** Every answer saved is a round trip saved for each message; only RCPT and the end are answered. */
const wantedProtocol =
  neededProtocol |
  protocolFlags.noHelo |
  protocolFlags.noData |
  protocolFlags.noUnknown |
  protocolFlags.noEndOfHeaders |
  protocolFlags.noReplyConnect |
  protocolFlags.noReplyMail |
  protocolFlags.noReplyHeader |
  protocolFlags.noReplyBody;

const answerFlags: Partial<Record<Command['kind'], number>> = {
  connect: protocolFlags.noReplyConnect,
  helo: protocolFlags.noReplyHelo,
  mail: protocolFlags.noReplyMail,
  rcpt: protocolFlags.noReplyRcpt,
  data: protocolFlags.noReplyData,
  unknown: protocolFlags.noReplyUnknown,
  header: protocolFlags.noReplyHeader,
  endOfHeaders: protocolFlags.noReplyEndOfHeaders,
  body: protocolFlags.noReplyBody,
};

/** The stages macros belong to: those up to HELO live as long as the SMTP session, the others one message. */
const connectionStages = 'CH';
const messageStages = 'MRTLNBEU';

const continueReply: readonly Reply[] = [{ kind: 'continue' }];
const noReply: readonly Reply[] = [];

/** A message on its way in. */
interface Incoming {
  readonly sender: string;
  readonly recipients: string[];
  readonly headers: HeaderField[];
  headerBytes: number;
  headerLines: number;
  chunks: Buffer[];
  bodyBytes: number;
  readonly account: ByteAccount;
  /** The reply that the message will get in any case; its content is no longer kept. */
  refusal: string | null;
  contentStarted: boolean;
}

export class MilterSession {
  readonly #handler: MilterHandler;
  readonly #limits: MilterLimits;
  #negotiated: number | null = null;
  #client: ConnectCommand | null = null;
  readonly #macros = new Map<string, ReadonlyMap<string, string>>();
  #incoming: Incoming | null = null;

  constructor(handler: MilterHandler, limits: MilterLimits) {
    this.#handler = handler;
    this.#limits = limits;
  }

  /**
   * Takes one command.
   * @returns the replies to send, in order, or 'close' when the MTA has said goodbye
   * @throws ProtocolError when the command may not come here; the connection is then to be closed. Whatever
   *   the handler throws is passed on, after which the session goes on with `failureReplies`
   */
  async respond(command: Command, options: { signal: AbortSignal }): Promise<readonly Reply[] | 'close'> {
    if (command.kind === 'negotiate') return [this.#negotiate(command)];
    if (this.#negotiated === null) throw new ProtocolError(`Milter ${command.kind} before negotiation`);
    switch (command.kind) {
      case 'macros':
        this.#keepMacros(command.stage, command.macros);
        return noReply;
      case 'abort':
        this.#endMessage();
        return noReply;
      case 'quit':
        this.dispose();
        return 'close';
      case 'quitNewConnection':
        this.dispose();
        return noReply;
      case 'rcpt':
        return this.#recipient(command.address);
      case 'endOfBody':
        return this.#endOfBody(command.chunk, options);
      case 'connect':
        this.#client = command;
        break;
      case 'mail':
        this.#beginMessage(command.address);
        break;
      case 'header':
        this.#header(command.name, command.value);
        break;
      case 'body':
        this.#body(command.chunk);
        break;
      default:
        break;
    }
    return ((answerFlags[command.kind] ?? 0) & this.#negotiated) === 0 ? continueReply : noReply;
  }

  /** What to answer a command whose `respond` threw something that is no ProtocolError. */
  failureReplies(): readonly Reply[] {
    return [{ kind: 'replyCode', text: '451 4.3.0 The mail filter failed, try again later' }];
  }

  /** Drops everything of the SMTP session, and gives its memory back. */
  dispose(): void {
    this.#endMessage();
    this.#client = null;
    this.#macros.clear();
  }

  #negotiate(offer: Negotiation): Reply {
    if (this.#negotiated !== null) throw new ProtocolError('Milter negotiation came twice');
    const missing =
      (wantedActions & ~offer.actions) !== 0 || (neededProtocol & ~offer.protocol) !== 0 ? 'features' : null;
    if (offer.version < protocolVersion || missing !== null) {
      throw new ProtocolError(
        `The MTA speaks milter version ${offer.version}, actions 0x${offer.actions.toString(16)}, protocol ` +
          `0x${offer.protocol.toString(16)}; needed is version 6 with header and sender changes and leading space`,
      );
    }
    this.#negotiated = wantedProtocol & offer.protocol;
    return {
      kind: 'negotiate',
      version: protocolVersion,
      actions: wantedActions,
      protocol: this.#negotiated,
    };
  }

  #keepMacros(stage: string, macros: ReadonlyMap<string, string>): void {
    if (!connectionStages.includes(stage) && !messageStages.includes(stage)) {
      throw new ProtocolError(`Milter macros for unknown stage ${JSON.stringify(stage)}`);
    }
    this.#macros.set(stage, macros);
  }

  #beginMessage(address: string): void {
    // The macros of MAIL itself came just before it.
    this.#endMessage({ keepMailMacros: true });
    this.#incoming = {
      sender: bareAddress(address),
      recipients: [],
      headers: [],
      headerBytes: 0,
      headerLines: 0,
      chunks: [],
      bodyBytes: 0,
      account: this.#limits.budget.account(),
      refusal: null,
      contentStarted: false,
    };
  }

  #recipient(address: string): readonly Reply[] {
    const incoming = this.#expectMessage('rcpt');
    if (incoming.contentStarted) throw new ProtocolError('Milter rcpt after the content began');
    if (incoming.recipients.length >= this.#limits.maxRecipients) {
      return [{ kind: 'replyCode', text: '452 4.5.3 Too many recipients' }];
    }
    const recipient = bareAddress(address);
    const refusal = this.#handler.recipient(this.#transaction(incoming), recipient);
    if (refusal !== null) return [{ kind: 'replyCode', text: refusal }];
    incoming.recipients.push(recipient);
    return continueReply;
  }

  #header(name: string, value: string): void {
    const incoming = this.#expectMessage('header');
    if (incoming.bodyBytes > 0) throw new ProtocolError('Milter header after the body began');
    incoming.contentStarted = true;
    incoming.headerBytes += name.length + value.length + 3;
    incoming.headerLines += 1 + countOf(value, '\n');
    if (incoming.headerBytes > maxHeaderSectionBytes || incoming.headerLines > maxHeaderLines) {
      this.#refuse(incoming, '552 5.3.4 The header section exceeds the size limit');
    }
    // Postfix separates folded lines by a bare LF on this wire, yet CRLF is what will be in the mail.
    const field = { name, value: value.replace(/\r?\n/g, '\r\n') };
    if (this.#hold(incoming, name.length + value.length + 3)) incoming.headers.push(field);
  }

  #body(chunk: Buffer): void {
    const incoming = this.#expectMessage('body');
    incoming.contentStarted = true;
    incoming.bodyBytes += chunk.length;
    if (incoming.headerBytes + incoming.bodyBytes > this.#limits.maxMessageBytes) {
      this.#refuse(incoming, '552 5.3.4 Message exceeds maximum size');
    }
    // Twice: the chunks, and the body that is joined of them at the end.
    if (this.#hold(incoming, chunk.length * 2)) incoming.chunks.push(chunk);
  }

  async #endOfBody(chunk: Buffer, options: { signal: AbortSignal }): Promise<readonly Reply[]> {
    if (chunk.length > 0) this.#body(chunk);
    const incoming = this.#expectMessage('end of body');
    try {
      if (incoming.refusal !== null) return [{ kind: 'replyCode', text: incoming.refusal }];
      const body = Buffer.concat(incoming.chunks, incoming.bodyBytes);
      incoming.chunks = [];
      const verdict = await this.#handler.message(
        { ...this.#transaction(incoming), headers: incoming.headers, body },
        options,
      );
      if (verdict.kind === 'reject') return [{ kind: 'replyCode', text: verdict.reply }];
      return [...verdict.edits.map(toWire), { kind: 'accept' }];
    } finally {
      this.#endMessage();
    }
  }

  #transaction(incoming: Incoming): MilterTransaction {
    const macros = new Map<string, string>();
    for (const stage of connectionStages + messageStages) {
      for (const [name, value] of this.#macros.get(stage) ?? []) macros.set(name, value);
    }
    return { client: this.#client, macros, sender: incoming.sender, recipients: [...incoming.recipients] };
  }

  #hold(incoming: Incoming, bytes: number): boolean {
    if (incoming.refusal !== null) return false;
    if (incoming.account.hold(bytes)) return true;
    this.#refuse(incoming, '451 4.3.0 Out of memory for messages, try again later');
    return false;
  }

  #refuse(incoming: Incoming, reply: string): void {
    incoming.refusal ??= reply;
    incoming.headers.length = 0;
    incoming.chunks = [];
    incoming.account.release();
  }

  #endMessage({ keepMailMacros = false } = {}): void {
    this.#incoming?.account.release();
    this.#incoming = null;
    for (const stage of messageStages) {
      if (!(keepMailMacros && stage === 'M')) this.#macros.delete(stage);
    }
  }

  #expectMessage(what: string): Incoming {
    if (this.#incoming === null) throw new ProtocolError(`Milter ${what} before mail`);
    return this.#incoming;
  }
}

/** `<a@b>` or `a@b` (internal mail comes without brackets) as `a@b`. */
function bareAddress(address: string): string {
  return /^<(.*)>$/.exec(address)?.[1] ?? address;
}

/** Postfix breaks header records at a bare LF; a CR before it would stay in the mail. */
function toWire(edit: MilterEdit): MilterEdit {
  return edit.kind === 'changeFrom' ? edit : { ...edit, value: edit.value.replaceAll('\r\n', '\n') };
}

function countOf(text: string, character: string): number {
  let count = 0;
  for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + 1)) count++;
  return count;
}
