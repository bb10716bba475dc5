/**
 * The server's half of LMTP (RFC 2033) as far as Postfix speaks it: commands in, replies out, and the lines
 * of a message with their dots taken off. Pure; the sockets are in server.ts.
 */
import { ProtocolError } from '../base/errors.ts';
import { createDotUnstuffer, type DotUnstuffer } from '../smtp/dot-stuffing.ts';

export interface LmtpLimits {
  readonly maxMessageBytes: number;
  readonly maxRecipients: number;
}

/** RFC 5321 §4.5.3.1.4 has 512; MAIL and RCPT may have more parameters than that. */
const maxCommandBytes = 2048;

export type LmtpEvent =
  | { readonly kind: 'reply'; readonly text: string }
  /** The envelope is complete; what comes is the message. */
  | {
      readonly kind: 'data';
      readonly sender: string;
      readonly recipients: readonly string[];
      readonly sizeBytes: number | undefined;
    }
  /** A part of the message, for the caller to keep. */
  | { readonly kind: 'part'; readonly bytes: Buffer }
  /** The message is complete; the next reply, one for each recipient, is the caller's. */
  | { readonly kind: 'end' }
  | { readonly kind: 'quit' };

/** MAIL FROM:<a@b> SIZE=1, RCPT TO:<a@b>; printable ASCII, since it goes on as a header or a command. */
const path = /^(?:MAIL FROM|RCPT TO):[ ]?<([\x21-\x3b\x3d\x3f-\x7e]*)>(?: ([\x20-\x7e]*))?$/i;

export class LmtpSession {
  readonly #limits: LmtpLimits;
  #pending: Buffer = Buffer.alloc(0);
  #body: DotUnstuffer | undefined;
  #greeted = false;
  #sender: string | undefined;
  #sizeBytes: number | undefined;
  #recipients: string[] = [];

  constructor(limits: LmtpLimits) {
    this.#limits = limits;
  }

  /** What is said first. */
  get greeting(): string {
    return '220 chatmail LMTP';
  }

  push(chunk: Uint8Array): void {
    this.#pending = this.#pending.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#pending, chunk]);
  }

  /** The next thing that what was pushed holds; null when more has to come. @throws ProtocolError */
  next(): LmtpEvent | null {
    return this.#body === undefined ? this.#nextCommand() : this.#nextPart(this.#body);
  }

  #nextPart(body: DotUnstuffer): LmtpEvent | null {
    if (this.#pending.length === 0) return null;
    const { parts, rest } = body.push(this.#pending);
    if (rest === undefined) {
      this.#pending = Buffer.alloc(0);
      return { kind: 'part', bytes: Buffer.concat(parts) };
    }
    const bytes = Buffer.concat(parts);
    this.#pending = Buffer.from(rest);
    this.#body = undefined;
    this.#clear();
    if (bytes.length === 0) return { kind: 'end' };
    // The end comes with the next call.
    this.#ended = true;
    return { kind: 'part', bytes };
  }

  #ended = false;

  #nextCommand(): LmtpEvent | null {
    if (this.#ended) {
      this.#ended = false;
      return { kind: 'end' };
    }
    const end = this.#pending.indexOf('\n');
    if (end > maxCommandBytes || (end < 0 && this.#pending.length > maxCommandBytes)) {
      throw new ProtocolError(`An LMTP command is longer than ${maxCommandBytes} bytes`);
    }
    if (end < 0) return null;
    const line = this.#pending.toString('latin1', 0, end).replace(/\r$/, '');
    this.#pending = this.#pending.subarray(end + 1);
    return this.#command(line);
  }

  #command(line: string): LmtpEvent {
    const verb = /^[a-z]*/i.exec(line)?.[0].toUpperCase() ?? '';
    switch (verb) {
      case 'LHLO':
        this.#greeted = true;
        this.#clear();
        return reply(
          [
            'chatmail',
            'PIPELINING',
            'ENHANCEDSTATUSCODES',
            '8BITMIME',
            `SIZE ${this.#limits.maxMessageBytes}`,
          ]
            .map((text, index, all) => `250${index === all.length - 1 ? ' ' : '-'}${text}`)
            .join('\r\n'),
        );
      case 'MAIL':
        return this.#mail(line);
      case 'RCPT':
        return this.#rcpt(line);
      case 'DATA':
        return this.#data();
      case 'RSET':
        this.#clear();
        return reply('250 2.0.0 Ok');
      case 'NOOP':
        return reply('250 2.0.0 Ok');
      case 'QUIT':
        return { kind: 'quit' };
      default:
        return reply('500 5.5.2 Unknown command');
    }
  }

  #mail(line: string): LmtpEvent {
    const [, sender, parameters = ''] = path.exec(line) ?? [];
    if (sender === undefined) return reply('501 5.1.7 Bad sender address syntax');
    if (!this.#greeted || this.#sender !== undefined) return reply('503 5.5.1 Bad sequence of commands');
    const size = /(?:^| )SIZE=(\d{1,15})(?: |$)/i.exec(parameters)?.[1];
    if (size !== undefined && Number(size) > this.#limits.maxMessageBytes) return reply(tooLarge);
    this.#sender = sender;
    this.#sizeBytes = size === undefined ? undefined : Number(size);
    return reply('250 2.1.0 Ok');
  }

  #rcpt(line: string): LmtpEvent {
    const recipient = path.exec(line)?.[1] ?? '';
    if (!recipient.includes('@')) return reply('501 5.1.3 Bad recipient address syntax');
    if (this.#sender === undefined) return reply('503 5.5.1 Bad sequence of commands');
    if (this.#recipients.length >= this.#limits.maxRecipients) return reply('452 4.5.3 Too many recipients');
    this.#recipients.push(recipient);
    return reply('250 2.1.5 Ok');
  }

  #data(): LmtpEvent {
    if (this.#sender === undefined) return reply('503 5.5.1 Bad sequence of commands');
    if (this.#recipients.length === 0) return reply('503 5.5.1 No valid recipients');
    this.#body = createDotUnstuffer();
    return { kind: 'data', sender: this.#sender, recipients: this.#recipients, sizeBytes: this.#sizeBytes };
  }

  #clear(): void {
    this.#sender = undefined;
    this.#sizeBytes = undefined;
    this.#recipients = [];
  }
}

export const tooLarge = '552 5.3.4 Message exceeds maximum size';

function reply(text: string): LmtpEvent {
  return { kind: 'reply', text };
}
