/**
 * The real Delta Chat core as a test client: one process, one account, driven over JSON-RPC on its stdio.
 * It may run in a network namespace. Every wait has a deadline, and names what it waited for.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DcEvent, type DcEventType, StdioDeltaChat, type T } from '@deltachat/jsonrpc-client';
import { getRPCServerPath } from '@deltachat/stdio-rpc-server';

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly security: 'ssl' | 'starttls' | 'plain';
}

export interface DeltaChatOptions {
  /** Name of a network namespace made with `ip netns add`. */
  readonly netns?: string;
  /** Deadline of every single wait. */
  readonly timeoutMs?: number;
}

const progressDone = 1000;

export class DeltaChat implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #core: StdioDeltaChat;
  readonly #directory: string;
  readonly #timeoutMs: number;
  /** Events not yet taken by a wait, so that none is lost between two waits. */
  readonly #events: DcEvent[] = [];
  readonly #log: string[] = [];
  #wake: (() => void) | undefined;
  #account = 0;

  private constructor(process: ChildProcess, directory: string, timeoutMs: number) {
    this.#process = process;
    this.#directory = directory;
    this.#timeoutMs = timeoutMs;
    this.#core = new StdioDeltaChat(process.stdin, process.stdout, true);
  }

  /** Starts a core with an empty profile. */
  static async start(options: DeltaChatOptions = {}): Promise<DeltaChat> {
    const directory = await mkdtemp(join(tmpdir(), 'delta-chat-'));
    const binary = getRPCServerPath({ disableEnvPath: true });
    const [command, args] =
      options.netns === undefined ? [binary, []] : ['ip', ['netns', 'exec', options.netns, binary]];
    const child = spawn(command, args, {
      env: { PATH: process.env.PATH, DC_ACCOUNTS_PATH: join(directory, 'accounts') },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const chat = new DeltaChat(child, directory, options.timeoutMs ?? 60_000);
    chat.#core.on('ALL', (_, event) => chat.#receive(event));
    chat.#account = await chat.#core.rpc.addAccount();
    return chat;
  }

  #receive(event: DcEvent): void {
    if (event.kind === 'Info' || event.kind === 'Warning' || event.kind === 'Error') {
      this.#log.push(`${event.kind}: ${event.msg}`);
      return;
    }
    this.#events.push(event);
    this.#wake?.();
  }

  /** The next event of this kind that fits, from those that came since the last wait. */
  async waitFor<K extends DcEvent['kind']>(
    kind: K,
    fits: (event: DcEventType<K>) => boolean = () => true,
    timeoutMs = this.#timeoutMs,
  ): Promise<DcEventType<K>> {
    const isWanted = (event: DcEvent): event is DcEventType<K> =>
      event.kind === kind && fits(event as DcEventType<K>);
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const index = this.#events.findIndex(isWanted);
      const [found] = index < 0 ? [] : this.#events.splice(index, 1);
      if (found !== undefined && isWanted(found)) return found;
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) {
        throw new Error(`No ${kind} within ${timeoutMs} ms\n${this.#log.slice(-30).join('\n')}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Signs in (which makes the account on a chatmail relay) and starts fetching. */
  async configure(login: {
    readonly address: string;
    readonly password: string;
    readonly imap: ServerAddress;
    readonly smtp: ServerAddress;
    readonly acceptInvalidCertificates?: boolean;
  }): Promise<void> {
    const parameters: T.EnteredLoginParam = {
      addr: login.address,
      password: login.password,
      imapServer: login.imap.host,
      imapPort: login.imap.port,
      imapFolder: null,
      imapSecurity: login.imap.security,
      imapUser: null,
      smtpServer: login.smtp.host,
      smtpPort: login.smtp.port,
      smtpSecurity: login.smtp.security,
      smtpUser: null,
      smtpPassword: null,
      certificateChecks: login.acceptInvalidCertificates === true ? 'acceptInvalidCertificates' : 'strict',
    };
    try {
      await this.#core.rpc.addOrUpdateTransport(this.#account, parameters);
    } catch (error) {
      throw new Error(`Signing in as ${login.address} failed\n${this.#log.slice(-30).join('\n')}`, {
        cause: error,
      });
    }
    await this.#core.rpc.startIo(this.#account);
  }

  /** Signs in by an invite: a `dclogin:` or `dcaccount:` URI. */
  async configureFromInvite(uri: string): Promise<void> {
    await this.#core.rpc.addTransportFromQr(this.#account, uri);
    await this.#core.rpc.startIo(this.#account);
  }

  /** What core found out about its relay. */
  async isChatmail(): Promise<boolean> {
    return (await this.#core.rpc.getInfo(this.#account)).is_chatmail === 'true';
  }

  async address(): Promise<string> {
    return (await this.#core.rpc.getConfig(this.#account, 'configured_addr')) ?? '';
  }

  /** The text of the QR code another core scans. */
  async inviteCode(): Promise<string> {
    return this.#core.rpc.getChatSecurejoinQrCode(this.#account, null);
  }

  /** Scans a code and waits until this side has verified the other. Resolves to the chat. */
  async join(code: string): Promise<number> {
    const chat = await this.#core.rpc.secureJoin(this.#account, code);
    await this.waitFor('SecurejoinJoinerProgress', ({ progress }) => progress === progressDone);
    return chat;
  }

  /** Waits until somebody who scanned our code is verified. Resolves to the chat with them. */
  async waitForJoiner(): Promise<number> {
    const { contactId } = await this.waitFor(
      'SecurejoinInviterProgress',
      ({ progress }) => progress === progressDone,
    );
    return this.#core.rpc.createChatByContactId(this.#account, contactId);
  }

  async sendText(chat: number, text: string): Promise<number> {
    return this.#core.rpc.miscSendTextMessage(this.#account, chat, text);
  }

  async sendFile(chat: number, path: string, text: string): Promise<number> {
    const [message] = await this.#core.rpc.miscSendMsg(this.#account, chat, text, path, null, null, null);
    return message;
  }

  /** Waits for a message with this text, and fetches its attachment whole if it has one. */
  async receive(text: string): Promise<T.Message> {
    const deadline = Date.now() + this.#timeoutMs;
    for (;;) {
      const { msgId } = await this.waitFor('IncomingMsg', undefined, Math.max(1, deadline - Date.now()));
      const message = await this.#core.rpc.getMessage(this.#account, msgId);
      if (message.text === text) return message;
    }
  }

  /**
   * Waits for a message with an attachment of this name that has arrived whole. Core announces large files
   * by a first message, and fetches them with a second.
   */
  async receiveFile(chat: number, fileName: string): Promise<T.Message> {
    const deadline = Date.now() + this.#timeoutMs;
    for (;;) {
      const found = (await this.messages(chat)).find(
        (message) =>
          message.fileName === fileName && message.downloadState === 'Done' && message.file !== null,
      );
      if (found !== undefined) return found;
      await this.waitFor('MsgsChanged', undefined, Math.max(1, deadline - Date.now()));
    }
  }

  /** Every message of a chat, oldest first, without information lines. */
  async messages(chat: number): Promise<T.Message[]> {
    const ids = await this.#core.rpc.getMessageIds(this.#account, chat, false, false);
    const all = await Promise.all(ids.map((id) => this.#core.rpc.getMessage(this.#account, id)));
    return all.filter((message) => !message.isInfo);
  }

  async message(id: number): Promise<T.Message> {
    return this.#core.rpc.getMessage(this.#account, id);
  }

  /** Closes every connection and opens new ones, as an app does that is closed and opened again. */
  async reconnect(): Promise<void> {
    await this.#core.rpc.stopIo(this.#account);
    await this.#core.rpc.startIo(this.#account);
  }

  /** Marks as read, which sends a read receipt. */
  async markSeen(message: number): Promise<void> {
    await this.#core.rpc.markseenMsgs(this.#account, [message]);
  }

  async waitForReadReceipt(message: number): Promise<void> {
    await this.waitFor('MsgRead', ({ msgId }) => msgId === message);
  }

  /** The end of core's log, for a failing test. */
  log(): string {
    return this.#log.slice(-60).join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin?.end();
    this.#process.kill();
    await ended;
    await rm(this.#directory, { recursive: true, force: true });
  }
}
