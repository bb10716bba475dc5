/**
 * The milter server: a unix socket that Postfix connects to, one session a connection. Bytes in, bytes out;
 * what is decided lies in the handler. One command of a connection is worked on at a time, so a slow handler
 * holds its own peer back and nobody else.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { messageOf, ProtocolError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { listenOnUnixSocket } from '../base/unix-listen.ts';
import { decodeCommand, encodeReply } from './codec.ts';
import { type Packet, PacketDecoder } from './packet.ts';
import { type MilterHandler, type MilterLimits, MilterSession } from './session.ts';

export interface MilterServerOptions extends MilterLimits {
  /** Path of the unix socket, made with mode 0660 in the group of its directory. A stale one is replaced. */
  readonly path: string;
  readonly handler: MilterHandler;
  readonly log: Log;
  /** Ends the server and every connection. */
  readonly signal: AbortSignal;
  /** Connections beyond are closed at once, which Postfix answers with 451. @default 2000 */
  readonly maxConnections?: number;
  /** Quiet time after which a connection is closed. Longer than Postfix's smtpd_timeout (300 s). @default 600,000 */
  readonly idleTimeoutMs?: number;
}

export interface MilterServer extends AsyncDisposable {
  /** Stops listening and closes every connection. */
  close(): Promise<void>;
}

/** Listens; resolved once Postfix can connect. @throws a system error when the path cannot be bound */
export async function startMilterServer(options: MilterServerOptions): Promise<MilterServer> {
  const { path, maxConnections = 2000, log, signal } = options;
  signal.throwIfAborted();
  const stop = new AbortController();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serve(socket, options, stop.signal).catch((error: unknown) => {
      if (!stop.signal.aborted) log.warn('milter-connection', { error: messageOf(error) });
      socket.destroy();
    });
  });
  server.maxConnections = maxConnections;
  server.on('drop', () => log.warn('milter-too-many-connections', { maxConnections }));
  await listenOnUnixSocket(server, path);
  server.on('error', (error) => log.error('milter-server', { error: messageOf(error) }));
  const close = async (): Promise<void> => {
    if (stop.signal.aborted) return;
    signal.removeEventListener('abort', onAbort);
    stop.abort();
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  const onAbort = (): void => {
    close().catch((error: unknown) => log.error('milter-close', { error: messageOf(error) }));
  };
  signal.addEventListener('abort', onAbort, { once: true });
  return { close, [Symbol.asyncDispose]: close };
}

async function serve(socket: Socket, options: MilterServerOptions, signal: AbortSignal): Promise<void> {
  const session = new MilterSession(options.handler, options);
  const decoder = new PacketDecoder();
  // The loop below sees errors; one that comes after it must not end the process.
  socket.on('error', () => {});
  socket.setTimeout(options.idleTimeoutMs ?? 600_000, () => socket.destroy());
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      for (const packet of decoder.push(chunk)) {
        const bytes = await answer(session, packet, options, signal);
        if (bytes === 'close') {
          socket.end();
          return;
        }
        if (bytes.length > 0 && !socket.write(bytes)) await once(socket, 'drain', { signal });
      }
    }
  } catch (error) {
    // A peer that went away in the middle of a message is everyday life.
    if (error instanceof ProtocolError) throw error;
    if (!socket.destroyed) throw error;
  } finally {
    session.dispose();
    socket.destroy();
  }
}

async function answer(
  session: MilterSession,
  packet: Packet,
  { log }: MilterServerOptions,
  signal: AbortSignal,
): Promise<Buffer | 'close'> {
  const command = decodeCommand(packet);
  try {
    const replies = await session.respond(command, { signal });
    return replies === 'close' ? 'close' : Buffer.concat(replies.map((reply) => encodeReply(reply)));
  } catch (error) {
    if (error instanceof ProtocolError) throw error;
    log.error('milter-handler', { error: messageOf(error), command: command.kind });
    return Buffer.concat(session.failureReplies().map((reply) => encodeReply(reply)));
  }
}
