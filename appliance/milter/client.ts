/**
 * The MTA's side of the milter protocol, as far as tests, the benchmark and a self-check need it: negotiate
 * as Postfix does, send messages, gather what the filter says.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { ProtocolError } from '../base/errors.ts';
import {
  type Command,
  type ConnectCommand,
  decodeReply,
  encodeCommand,
  protocolFlags,
  type Reply,
} from './codec.ts';
import { PacketDecoder } from './packet.ts';
import type { HeaderField, MilterEdit } from './session.ts';

/** What Postfix 3.10 offers: every action, every protocol flag. */
const offer = { kind: 'negotiate', version: 6, actions: 0x1ff, protocol: 0x1fffff } as const;

/** Postfix's MILTER_CHUNK_SIZE. */
const chunkBytes = 65_535;

export interface MilterEnvelope {
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Macros of MAIL, such as `auth_authen` and `i`. */
  readonly macros?: Readonly<Record<string, string>>;
}

export interface OutgoingMilterMessage extends MilterEnvelope {
  readonly headers: readonly HeaderField[];
  readonly body: Buffer;
}

/** How a message fared, and what it would be like now. */
export interface MilterOutcome {
  /** `accept`, `discard`, or the SMTP reply of the filter (`523 5.7.1 text`). */
  readonly result: string;
  /** Recipients refused at RCPT, with the reply. */
  readonly refused: ReadonlyMap<string, string>;
  readonly edits: readonly MilterEdit[];
}

export class MilterClient implements Disposable {
  readonly #socket: Socket;
  readonly #decoder = new PacketDecoder();
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #replies: Reply[] = [];
  /** Commands that get no answer wait for one that does, and leave with it. */
  #pending: Buffer[] = [];
  #protocol = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#chunks = (socket as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /**
   * Connects to a filter's unix socket, negotiates, and introduces an SMTP client.
   * @throws ProtocolError when the filter does not keep to the protocol, or a system error
   */
  static async connect(
    path: string,
    {
      signal,
      client = {
        kind: 'connect',
        host: '[192.0.2.1]',
        family: 'inet',
        port: 40_000,
        address: '192.0.2.1',
      },
      macros = {},
    }: {
      signal: AbortSignal;
      client?: ConnectCommand;
      /** Macros of CONNECT, such as `daemon_name`. */
      macros?: Readonly<Record<string, string>>;
    },
  ): Promise<MilterClient> {
    const socket = createConnection(path);
    signal.addEventListener('abort', () => socket.destroy(), { once: true });
    await once(socket, 'connect', { signal });
    const milter = new MilterClient(socket);
    milter.#write([offer]);
    const negotiated = await milter.#read();
    if (negotiated.kind !== 'negotiate') throw new ProtocolError(`No negotiation but ${negotiated.kind}`);
    milter.#protocol = negotiated.protocol;
    await milter.#step([macrosFor('C', macros), client], protocolFlags.noReplyConnect);
    await milter.#optionalStep({ kind: 'helo', name: 'client.example' }, 'noHelo', 'noReplyHelo');
    milter.#flush();
    return milter;
  }

  /** Sends one message. */
  async send(message: OutgoingMilterMessage): Promise<MilterOutcome> {
    const refused = new Map<string, string>();
    const mail: Command = { kind: 'mail', address: `<${message.sender}>`, args: [] };
    await this.#step([macrosFor('M', message.macros ?? {}), mail], protocolFlags.noReplyMail);
    for (const recipient of message.recipients) {
      const reply = await this.#step(
        [macrosFor('R', { rcpt_addr: recipient }), { kind: 'rcpt', address: `<${recipient}>`, args: [] }],
        protocolFlags.noReplyRcpt,
      );
      if (reply?.kind === 'replyCode') refused.set(recipient, reply.text);
    }
    if (refused.size === message.recipients.length) {
      this.write([{ kind: 'abort' }]);
      return { result: [...refused.values()][0] ?? 'discard', refused, edits: [] };
    }
    await this.#optionalStep({ kind: 'data' }, 'noData', 'noReplyData');
    for (const { name, value } of message.headers) {
      const header: Command = { kind: 'header', name, value: value.replaceAll('\r\n', '\n') };
      await this.#optionalStep(header, 'noHeaders', 'noReplyHeader');
    }
    await this.#optionalStep({ kind: 'endOfHeaders' }, 'noEndOfHeaders', 'noReplyEndOfHeaders');
    let offset = 0;
    for (; message.body.length - offset >= chunkBytes; offset += chunkBytes) {
      const chunk = message.body.subarray(offset, offset + chunkBytes);
      await this.#optionalStep({ kind: 'body', chunk }, 'noBody', 'noReplyBody');
      this.#flush();
      if (this.#socket.writableNeedDrain) await once(this.#socket, 'drain');
    }
    this.#write([{ kind: 'endOfBody', chunk: message.body.subarray(offset) }]);
    return { refused, ...(await this.#verdict()) };
  }

  /** Sends bare commands, without waiting for anything: for tests of odd sequences. */
  write(commands: readonly Command[]): void {
    this.#write(commands);
    this.#flush();
  }

  /** The next reply. @throws ProtocolError when the filter closed the connection */
  async read(): Promise<Reply> {
    return this.#read();
  }

  [Symbol.dispose](): void {
    if (this.#socket.writable) this.write([{ kind: 'quit' }]);
    this.#socket.destroySoon();
  }

  async #verdict(): Promise<Pick<MilterOutcome, 'result' | 'edits'>> {
    const edits: MilterEdit[] = [];
    for (;;) {
      const reply = await this.#read();
      switch (reply.kind) {
        case 'accept':
        case 'continue':
          return { result: 'accept', edits };
        case 'discard':
          return { result: 'discard', edits };
        case 'replyCode':
          return { result: reply.text, edits };
        case 'addHeader':
        case 'insertHeader':
        case 'changeHeader':
        case 'changeFrom':
          edits.push(reply);
          break;
        case 'progress':
          break;
        default:
          throw new ProtocolError(`Unexpected milter reply ${reply.kind}`);
      }
    }
  }

  /** Sends commands, and reads the answer to the last of them unless the filter said it gives none. */
  async #step(commands: readonly Command[], noReplyFlag: number): Promise<Reply | null> {
    this.#write(commands);
    return (this.#protocol & noReplyFlag) === 0 ? this.#read() : null;
  }

  /**
   * Sends a command the filter wants to hear of.
   * @throws ProtocolError when it does not let the message go on; this client knows verdicts at the end only
   */
  async #optionalStep(
    command: Command,
    noCommand: keyof typeof protocolFlags,
    noReply: keyof typeof protocolFlags,
  ): Promise<void> {
    if ((this.#protocol & protocolFlags[noCommand]) !== 0) return;
    const reply = await this.#step([command], protocolFlags[noReply]);
    if (reply !== null && reply.kind !== 'continue') {
      throw new ProtocolError(`Unexpected milter reply ${reply.kind} to ${command.kind}`);
    }
  }

  #write(commands: readonly Command[]): void {
    this.#pending.push(...commands.map((command) => encodeCommand(command)));
  }

  #flush(): void {
    if (this.#pending.length > 0) this.#socket.write(Buffer.concat(this.#pending));
    this.#pending = [];
  }

  async #nextChunk(): Promise<Buffer> {
    const closed = 'The filter closed the connection';
    const chunk = await this.#chunks.next().catch((cause: unknown) => {
      throw new ProtocolError(closed, { cause });
    });
    if (chunk.done === true) throw new ProtocolError(closed);
    return chunk.value;
  }

  async #read(): Promise<Reply> {
    this.#flush();
    for (;;) {
      const reply = this.#replies.shift();
      if (reply !== undefined) return reply;
      const chunk = await this.#nextChunk();
      for (const packet of this.#decoder.push(chunk)) this.#replies.push(decodeReply(packet));
    }
  }
}

function macrosFor(stage: string, macros: Readonly<Record<string, string>>): Command {
  return { kind: 'macros', stage, macros: new Map(Object.entries(macros)) };
}
