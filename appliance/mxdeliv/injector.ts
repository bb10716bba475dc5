/**
 * Hands messages to our own Postfix on loopback, over connections that are kept for a moment: each one that
 * is opened costs a round through Postfix's master, and perhaps a new smtpd.
 */
import { SmtpConnection, type SmtpMessage, SmtpSessionError } from '../smtp/client.ts';
import type { SmtpReply } from '../smtp/reply.ts';

export interface InjectorOptions {
  readonly port: number;
  /** What EHLO says. */
  readonly localName: string;
  /** Loopback unless given. */
  readonly host?: string;
  /** As many as are busy when much comes at once. @default 16 */
  readonly maxIdle?: number;
  /** After so long an unused connection is closed: its smtpd takes 2.4 MB. @default 5000 */
  readonly idleTimeoutMs?: number;
}

export interface Injector extends Disposable {
  /**
   * Sends one message to all its recipients or to none.
   * @returns a refusal, or the reply that Postfix gave once the message was safe in its queue
   * @throws SmtpSessionError, the signal's reason, or what the body throws
   */
  inject(message: SmtpMessage, signal: AbortSignal): Promise<SmtpReply>;
}

interface Idle {
  readonly connection: SmtpConnection;
  readonly timer: NodeJS.Timeout;
}

export function createInjector(options: InjectorOptions): Injector {
  const { port, localName, host = '127.0.0.1', maxIdle = 16, idleTimeoutMs = 5000 } = options;
  const idle: Idle[] = [];
  const closed = new AbortController();

  const take = async (): Promise<{ connection: SmtpConnection; used: boolean }> => {
    for (let kept = idle.pop(); kept !== undefined; kept = idle.pop()) {
      clearTimeout(kept.timer);
      if (kept.connection.isOpen) return { connection: kept.connection, used: true };
      kept.connection[Symbol.dispose]();
    }
    // Not the caller's signal: the connection outlives this message.
    const connection = await SmtpConnection.connect({ host, port, localName, signal: closed.signal });
    return { connection, used: false };
  };

  const keep = (connection: SmtpConnection): void => {
    if (!connection.isOpen || idle.length >= maxIdle || closed.signal.aborted) {
      connection.quit();
      return;
    }
    const timer = setTimeout(() => {
      const index = idle.findIndex((kept) => kept.connection === connection);
      if (index >= 0) idle.splice(index, 1);
      connection.quit();
    }, idleTimeoutMs);
    // What is merely kept holds up nobody's end.
    timer.unref();
    idle.push({ connection, timer });
  };

  const inject: Injector['inject'] = async (message, signal) => {
    for (;;) {
      signal.throwIfAborted();
      const { connection, used } = await take();
      let asked = false;
      const onAbort = () => connection[Symbol.dispose]();
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        const answers = await connection.send({
          ...message,
          allOrNothing: true,
          body: () => {
            asked = true;
            return message.body();
          },
        });
        keep(connection);
        const [first] = answers;
        if (first === undefined) throw new RangeError('No recipients');
        return answers.find(({ code }) => code >= 400) ?? first;
      } catch (error) {
        connection[Symbol.dispose]();
        signal.throwIfAborted();
        // Postfix may close a kept connection at any moment; nothing of the message was read yet.
        if (used && !asked && error instanceof SmtpSessionError) continue;
        throw error;
      } finally {
        signal.removeEventListener('abort', onAbort);
      }
    }
  };

  return {
    inject,
    [Symbol.dispose]() {
      closed.abort();
      for (const { connection, timer } of idle.splice(0)) {
        clearTimeout(timer);
        connection[Symbol.dispose]();
      }
    },
  };
}
