/**
 * SMTP and IMAP over plain sockets, as a person with a terminal would type them: for the refusals that no
 * well-behaved client ever meets. Reads whole replies, with a deadline; knows nothing else of the protocols.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';

const deadlineMs = 30_000;

export interface SmtpReply {
  readonly code: number;
  /** Lines without code and separator. */
  readonly lines: readonly string[];
  /** The whole reply as one text, codes included. */
  readonly text: string;
}

export interface ImapReply {
  readonly status: 'OK' | 'NO' | 'BAD';
  readonly text: string;
  /** Everything untagged that came before, literals included. */
  readonly untagged: string;
}

/** A plain TCP connection from here. */
export async function openTcp(host: string, port: number): Promise<Socket> {
  const socket = connectTcp({ host, port });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  return socket;
}

/** TLS on top of any connection; certificates are not checked unless `ca` is given. */
export async function startTls(
  socket: Duplex,
  servername: string,
  alpn: readonly string[] = [],
): Promise<TLSSocket> {
  // An IP address is not allowed as a server name.
  const name = /^[\d.:[\]]+$/.test(servername) ? {} : { servername };
  const secure = connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: [...alpn], ...name });
  await new Promise<void>((resolve, reject) => {
    secure.once('secureConnect', resolve);
    secure.once('error', reject);
  });
  return secure;
}

class Conversation {
  protected stream: Duplex;
  #buffer = '';
  #ended: Error | undefined;
  #wake: (() => void) | undefined;
  #onData = (chunk: Buffer) => {
    this.#buffer += chunk.toString('latin1');
    this.#wake?.();
  };
  #onEnd = () => {
    this.#ended ??= new Error('The server closed the connection');
    this.#wake?.();
  };
  #onError = (error: Error) => {
    this.#ended = error;
    this.#wake?.();
  };

  constructor(stream: Duplex) {
    this.stream = stream;
    this.#attach();
  }

  #attach(): void {
    this.stream
      .on('data', this.#onData)
      .on('end', this.#onEnd)
      .on('close', this.#onEnd)
      .on('error', this.#onError);
  }

  /** Goes on over TLS after STARTTLS. */
  async secure(servername: string): Promise<void> {
    this.stream.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onEnd);
    this.stream = await startTls(this.stream, servername);
    this.#attach();
  }

  /** Reads up to the end of the first match. */
  async read(pattern: RegExp): Promise<string> {
    const deadline = Date.now() + deadlineMs;
    for (;;) {
      const match = pattern.exec(this.#buffer);
      if (match !== null) {
        const end = match.index + match[0].length;
        const text = this.#buffer.slice(0, end);
        this.#buffer = this.#buffer.slice(end);
        return text;
      }
      if (this.#ended !== undefined) {
        throw new Error(`${this.#ended.message} before ${pattern}, after ${JSON.stringify(this.#buffer)}`);
      }
      const leftMs = deadline - Date.now();
      if (leftMs <= 0)
        throw new Error(`No ${pattern} within ${deadlineMs} ms, only ${JSON.stringify(this.#buffer)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Resolves when the server has closed the connection. */
  async closed(): Promise<void> {
    await this.read(/$^/).catch((error: unknown) => {
      if (this.#ended === undefined) throw error;
    });
  }

  write(text: string | Uint8Array): void {
    this.stream.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
  }

  [Symbol.dispose](): void {
    this.stream.destroy();
  }
}

export class SmtpClient extends Conversation {
  async reply(): Promise<SmtpReply> {
    const text = await this.read(/^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/);
    const lines = text.trimEnd().split(/\r?\n/);
    return {
      code: Number(text.slice(0, 3)),
      lines: lines.map((line) => line.slice(4)),
      text: text.trimEnd(),
    };
  }

  async command(line: string): Promise<SmtpReply> {
    this.write(`${line}\r\n`);
    return this.reply();
  }

  async login(user: string, password: string): Promise<SmtpReply> {
    return this.command(`AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString('base64')}`);
  }

  /** One whole transaction; the reply to the first command that was refused, or to the end of the data. */
  async send(from: string, to: readonly string[], message: string): Promise<SmtpReply> {
    for (const line of [`MAIL FROM:<${from}>`, ...to.map((one) => `RCPT TO:<${one}>`), 'DATA']) {
      const reply = await this.command(line);
      if (reply.code >= 400) return reply;
    }
    this.write(`${message.replace(/^\./gm, '..')}\r\n.\r\n`);
    return this.reply();
  }
}

export class ImapClient extends Conversation {
  #tag = 0;

  async greeting(): Promise<string> {
    return this.read(/^\* [^\n]*\n/);
  }

  async command(line: string): Promise<ImapReply> {
    const tag = `t${++this.#tag}`;
    this.write(`${tag} ${line}\r\n`);
    const text = await this.read(new RegExp(`^(?:[^\\n]*\\n)*?${tag} (?:OK|NO|BAD)[^\\n]*\\n`));
    const at = text.lastIndexOf(`${tag} `);
    const final = text.slice(at + tag.length + 1).trimEnd();
    const status = /^(OK|NO|BAD)/.exec(final)?.[1];
    if (status !== 'OK' && status !== 'NO' && status !== 'BAD') throw new Error(`Odd IMAP reply ${final}`);
    return { status, text: final, untagged: text.slice(0, at) };
  }

  async login(user: string, password: string): Promise<ImapReply> {
    return this.command(`LOGIN "${user}" "${password}"`);
  }
}
