/**
 * An SMTP client connection (RFC 5321, RFC 2920, RFC 3207): what hands mail to our own Postfix and to other
 * servers. The message is streamed, every recipient has an answer of its own, and the caller may look at the
 * peer's certificate before anything is said over TLS.
 *
 * nodemailer's client can do nearly all of it for 30 ms of start and 6.8 MB in each of two processes; it
 * rewrites line ends, and does not tell a connection lost before the end of a message from one lost after.
 */
import { once } from 'node:events';
import { connect as connectTcp, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { messageOf } from '../base/errors.ts';
import { createDotStuffer } from './dot-stuffing.ts';
import { createReplyDecoder, formatReply, isAccepted, type SmtpReply } from './reply.ts';

/** Where a session ended that should not have. */
export type SmtpStage =
  /** No connection, no greeting or no EHLO. */
  | 'connect'
  | 'starttls'
  /** Somewhere in the envelope or the message: it was not delivered. */
  | 'message'
  /** The whole message was sent and no answer came: it may have been delivered. */
  | 'answer';

/** The session cannot go on. */
export class SmtpSessionError extends Error {
  override name = 'SmtpSessionError';
  readonly code = 'smtp-session';
  readonly stage: SmtpStage;
  /** What the server said, where it was a refusal. */
  readonly reply: SmtpReply | undefined;
  constructor(stage: SmtpStage, message: string, options?: ErrorOptions & { readonly reply?: SmtpReply }) {
    super(message, options);
    this.stage = stage;
    this.reply = options?.reply;
  }
}

export interface SmtpConnectOptions {
  readonly port: number;
  readonly host: string;
  /** What EHLO says. */
  readonly localName: string;
  /** Node's resolver unless given. */
  readonly lookup?: LookupFunction;
  /** Ends the session whenever it fires; one signal for its whole life. */
  readonly signal: AbortSignal;
  /** For each reply; the connection itself gets half of it. Default 60,000. */
  readonly timeoutMs?: number;
}

export interface SmtpMessage {
  /** Empty: the null sender. Neither this nor a recipient may hold CR, LF, `<` or `>`. */
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Asked for only when the server is ready to take it. */
  readonly body: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  readonly sizeBytes?: number;
  /** Send nothing unless every recipient is taken. */
  readonly allOrNothing?: boolean;
}

const defaultTimeoutMs = 60_000;
/** Replies that nobody waits for; a server that sends more is not talking SMTP. */
const maxSurplusReplies = 2;

export class SmtpConnection implements Disposable {
  #socket: Socket | TLSSocket;
  readonly #localName: string;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal;
  #decoder = createReplyDecoder();
  #waiting: PromiseWithResolvers<SmtpReply>[] = [];
  #surplus: SmtpReply[] = [];
  #ended: Error | undefined;
  readonly #end = new AbortController();
  #extensions: ReadonlyMap<string, string> = new Map();

  private constructor(socket: Socket, options: SmtpConnectOptions) {
    this.#socket = socket;
    this.#localName = options.localName;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    this.#signal = options.signal;
    this.#signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  /**
   * Connects, waits for the greeting and says EHLO.
   * @throws SmtpSessionError of stage `connect`
   */
  static async connect(options: SmtpConnectOptions): Promise<SmtpConnection> {
    const { host, port, lookup, signal } = options;
    signal.throwIfAborted();
    const socket = connectTcp({
      host,
      port,
      noDelay: true,
      keepAlive: true,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout,
      ...(lookup === undefined ? {} : { lookup }),
    });
    const connection = new SmtpConnection(socket, options);
    try {
      connection.#listen(socket);
      // Where port 25 is closed on the way, nothing ever comes back.
      const connected = once(socket, 'connect', { signal: connection.#end.signal });
      await connection.#within('connect', connected, connection.#timeoutMs / 2);
      const greeting = await connection.#reply('connect');
      if (greeting.code !== 220) throw refusal('connect', 'The server greets with a refusal', greeting);
      await connection.#hello('connect');
      return connection;
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  }

  /** Keywords of EHLO in upper case, with what follows them. */
  get extensions(): ReadonlyMap<string, string> {
    return this.#extensions;
  }

  /** True while another message may be sent. */
  get isOpen(): boolean {
    return this.#ended === undefined && this.#waiting.length === 0 && this.#surplus.length === 0;
  }

  /** The socket as it is now; after startTls a TLSSocket. */
  get socket(): Socket | TLSSocket {
    return this.#socket;
  }

  /**
   * Turns to TLS. `verify` sees the connection before anything is said over it, and throws where it is not
   * good enough; that error is the cause of the one thrown here.
   * @throws SmtpSessionError of stage `starttls`
   */
  async startTls(options: ConnectionOptions, verify: (socket: TLSSocket) => void = () => {}): Promise<void> {
    const reply = await this.#command('STARTTLS', 'starttls');
    if (reply.code !== 220) throw refusal('starttls', 'The server refuses STARTTLS', reply);
    // RFC 3207 §5: whatever came before the handshake could be anybody's.
    if (this.#surplus.length > 0 || this.#decoder.isPending) {
      throw new SmtpSessionError('starttls', 'The server speaks before the handshake');
    }
    const plain = this.#socket;
    plain.removeAllListeners();
    // While the handshake goes on, TLS owns the plain socket; what fails there is told by the TLS socket.
    plain.on('error', () => {});
    const secure = connectTls({ ...options, socket: plain });
    this.#socket = secure;
    this.#decoder = createReplyDecoder();
    this.#listen(secure);
    try {
      await this.#within('starttls', once(secure, 'secureConnect', { signal: this.#end.signal }));
      verify(secure);
    } catch (error) {
      this[Symbol.dispose]();
      if (error instanceof SmtpSessionError) throw error;
      throw new SmtpSessionError('starttls', messageOf(error), { cause: error });
    }
    await this.#hello('starttls');
  }

  /**
   * Sends one message.
   * @returns the reply for each recipient, in order. After a refusal the connection stays usable where it can.
   * @throws SmtpSessionError of stage `message` or `answer`; whatever `body` throws, and nothing was delivered
   */
  async send(message: SmtpMessage): Promise<SmtpReply[]> {
    const { sender, recipients, sizeBytes } = message;
    if ([sender, ...recipients].some((address) => /[\r\n<>]/.test(address)) || recipients.length === 0) {
      throw new RangeError('An envelope has no recipient, or a character that no address has');
    }
    const size = sizeBytes !== undefined && this.#extensions.has('SIZE') ? ` SIZE=${sizeBytes}` : '';
    const eightBit = this.#extensions.has('8BITMIME') ? ' BODY=8BITMIME' : '';
    const commands = [
      `MAIL FROM:<${sender}>${size}${eightBit}`,
      ...recipients.map((recipient) => `RCPT TO:<${recipient}>`),
    ];
    // RFC 2920 §3.1: DATA may go along, unless its answer depends on ours to those before it.
    const withData =
      this.#extensions.has('PIPELINING') && (message.allOrNothing !== true || recipients.length === 1);
    const [mail, ...answers] = await this.#envelope(withData ? [...commands, 'DATA'] : commands);
    if (mail === undefined) throw new RangeError('No reply to MAIL');
    const early = withData ? answers.pop() : undefined;
    const refused = !isAccepted(mail)
      ? recipients.map(() => mail)
      : (message.allOrNothing === true ? !answers.every(isAccepted) : !answers.some(isAccepted))
        ? answers
        : undefined;
    if (refused !== undefined) {
      // A server that would take a message for nobody gets none: there is no way back from its 354.
      if (early?.code === 354) this[Symbol.dispose]();
      else await this.#reset();
      return refused;
    }
    const ready = early ?? (await this.#command('DATA', 'message'));
    if (ready.code !== 354) {
      if (ready.code < 400) throw refusal('message', 'The server does not take the message', ready);
      await this.#reset();
      return answers.map((answer) => (isAccepted(answer) ? ready : answer));
    }
    const final = await this.#body(message.body());
    return answers.map((answer) => (isAccepted(answer) ? final : answer));
  }

  /** Says goodbye and closes; waits for no answer. */
  quit(): void {
    if (this.#ended === undefined) {
      this.#signal.removeEventListener('abort', this.#onAbort);
      this.#socket.removeAllListeners('data').resume();
      this.#socket.end('QUIT\r\n');
      const socket = this.#socket;
      const timer = setTimeout(() => socket.destroy(), quitTimeoutMs);
      socket.once('close', () => clearTimeout(timer));
      this.#fail(new Error('The session was ended'));
    }
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#fail(new Error('The session was ended'));
    this.#socket.destroy();
  }

  readonly #onAbort = (): void => {
    this.#fail(this.#signal.reason instanceof Error ? this.#signal.reason : new Error('Aborted'));
    this.#socket.destroy();
  };

  #listen(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const reply of this.#decoder.push(chunk)) this.#take(reply);
      } catch (error) {
        this.#fail(error instanceof Error ? error : new Error(String(error)));
        socket.destroy();
      }
    });
    socket.on('error', (error) => this.#fail(error));
    socket.on('end', () => this.#fail(new Error('The server closed the connection')));
    socket.on('close', () => this.#fail(new Error('The connection was closed')));
  }

  #take(reply: SmtpReply): void {
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) waiter.resolve(reply);
    else if (this.#surplus.push(reply) > maxSurplusReplies) {
      this.#fail(new Error('The server sends replies to nothing'));
      this.#socket.destroy();
    }
  }

  #fail(error: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#end.abort(error);
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }

  /** The next reply. A surplus one (421 before closing) answers what is asked next. */
  async #reply(stage: SmtpStage): Promise<SmtpReply> {
    const surplus = this.#surplus.shift();
    if (surplus !== undefined) return surplus;
    if (this.#ended !== undefined)
      throw new SmtpSessionError(stage, messageOf(this.#ended), { cause: this.#ended });
    const waiter = Promise.withResolvers<SmtpReply>();
    this.#waiting.push(waiter);
    return this.#within(stage, waiter.promise);
  }

  async #within<T>(stage: SmtpStage, work: Promise<T>, timeoutMs = this.#timeoutMs): Promise<T> {
    const timer = setTimeout(() => {
      this.#fail(new Error(`The server took longer than ${timeoutMs} ms`));
      this.#socket.destroy();
    }, timeoutMs);
    try {
      return await work;
    } catch (error) {
      const cause = this.#ended ?? error;
      throw new SmtpSessionError(stage, messageOf(cause), { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  async #command(line: string, stage: SmtpStage): Promise<SmtpReply> {
    if (this.#ended === undefined) this.#socket.write(`${line}\r\n`);
    return this.#reply(stage);
  }

  async #hello(stage: SmtpStage): Promise<void> {
    const reply = await this.#command(`EHLO ${this.#localName}`, stage);
    if (!isAccepted(reply)) throw refusal(stage, 'The server refuses EHLO', reply);
    this.#extensions = new Map(
      reply.lines.slice(1).map((line) => {
        const [keyword = '', ...rest] = line.split(' ');
        return [keyword.toUpperCase(), rest.join(' ')];
      }),
    );
  }

  /** All commands at once where the server can take that (RFC 2920), else one after another. */
  async #envelope(commands: readonly string[]): Promise<SmtpReply[]> {
    const replies: SmtpReply[] = [];
    if (!this.#extensions.has('PIPELINING')) {
      for (const line of commands) {
        replies.push(await this.#command(line, 'message'));
        if (replies.length === 1 && replies.some((reply) => !isAccepted(reply))) break;
      }
      return replies;
    }
    if (this.#ended === undefined) this.#socket.write(commands.map((line) => `${line}\r\n`).join(''));
    const pending = commands.map(() => this.#reply('message'));
    for (const result of await Promise.allSettled(pending)) {
      if (result.status === 'rejected') throw result.reason;
      replies.push(result.value);
    }
    return replies;
  }

  async #body(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<SmtpReply> {
    const stuffer = createDotStuffer();
    const chunks = each(body);
    // Where the body is slow to come, the session may end while we wait for it.
    const ended = new Promise<never>((_, reject) => {
      this.#end.signal.addEventListener('abort', () => reject(this.#end.signal.reason), { once: true });
    });
    ended.catch(() => {});
    // A small message leaves in one piece, its end included.
    this.#socket.cork();
    try {
      for (;;) {
        const next = await Promise.race([chunks.next(), ended]);
        if (next.done === true) break;
        for (const part of stuffer.push(next.value)) await this.#write(part);
      }
      await this.#write(stuffer.end());
      this.#socket.uncork();
    } catch (error) {
      // Without the final dot nothing is delivered (RFC 5321 §4.1.1.4), so the connection has to go.
      chunks.return().catch(() => {});
      const early = this.#surplus.find(({ code }) => code >= 400);
      this[Symbol.dispose]();
      if (early !== undefined && (error instanceof SmtpSessionError || error === this.#ended)) return early;
      if (error === this.#ended) throw new SmtpSessionError('message', messageOf(error), { cause: error });
      throw error;
    }
    return this.#reply('answer');
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#ended === undefined && this.#socket.write(bytes)) return;
    this.#socket.uncork();
    // A server that refuses in the middle closes, or answers early; either way `drain` need not come.
    if (this.#ended === undefined) {
      await this.#within('message', once(this.#socket, 'drain', { signal: this.#end.signal }));
      this.#socket.cork();
    } else throw new SmtpSessionError('message', messageOf(this.#ended), { cause: this.#ended });
  }

  async #reset(): Promise<void> {
    try {
      const reply = await this.#command('RSET', 'message');
      if (!isAccepted(reply)) this[Symbol.dispose]();
    } catch {
      // The answers are in; that the server closes after a refusal is its right.
      this[Symbol.dispose]();
    }
  }
}

async function* each(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  yield* body;
}

/**
 * How long one address may take before the next one is tried. Node gives up the first attempt then, so its
 * default of a quarter second would never reach a server behind a satellite.
 */
export const autoSelectFamilyAttemptTimeout = 2000;
const quitTimeoutMs = 2000;

function refusal(stage: SmtpStage, what: string, reply: SmtpReply): SmtpSessionError {
  return new SmtpSessionError(stage, `${what}: ${formatReply(reply)}`, { reply });
}
