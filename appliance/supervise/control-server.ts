/**
 * The supervisor's unix sockets. Who may ask what is decided by the directory a socket lies in: Node cannot
 * see the credentials of a peer, the kernel checks permissions at connect(2).
 */
import { chmod, chown, mkdir, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { messageOf } from '../base/errors.ts';
import {
  type ControlReply,
  type ControlRequest,
  type ControlRequestKind,
  decodeRequest,
  encodeLine,
  maxReplyBytes,
  maxRequestBytes,
} from './control-protocol.ts';

export interface ControlEndpoint {
  readonly path: string;
  /** Group that may connect; root alone when undefined. */
  readonly gid?: number;
  readonly allowed: readonly ControlRequestKind[];
}

export type ControlHandler = (request: ControlRequest) => Promise<unknown>;

const maxConnections = 16;
/** Of one connection; who does not wait for answers is taken for somebody who wants our memory. */
const maxWaitingRequests = 16;
/** The longest answer, and some more. */
const maxUnreadBytes = 2 * maxReplyBytes;
/** A connection that says nothing for so long is closed. */
const idleMs = 30_000;

/** Listens on every endpoint until disposed. A stale socket of a killed supervisor is replaced. */
export async function startControlServer(
  endpoints: readonly ControlEndpoint[],
  handle: ControlHandler,
): Promise<AsyncDisposable> {
  const servers: Server[] = [];
  const sockets = new Set<Socket>();
  for (const endpoint of endpoints) {
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      serve(socket, endpoint.allowed, handle);
    });
    server.maxConnections = maxConnections;
    await listen(server, endpoint);
    servers.push(server);
  }
  return {
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    },
  };
}

async function listen(server: Server, { path, gid }: ControlEndpoint): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  await rm(path, { force: true });
  const previousMask = process.umask(0o177);
  try {
    // bind(2) happens inside listen(): the socket is never open to more than root.
    server.listen(path);
  } finally {
    process.umask(previousMask);
  }
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    // Later it is for want of descriptors that a client cannot be accepted, which must not end the supervisor.
    server.on('error', reject);
  });
  if (gid !== undefined) {
    await chown(path, process.getuid?.() ?? 0, gid);
    await chmod(path, 0o660);
  }
}

function serve(socket: Socket, allowed: readonly ControlRequestKind[], handle: ControlHandler): void {
  let buffered = '';
  let queue = Promise.resolve();
  let waiting = 0;
  socket.setEncoding('utf8');
  socket.setTimeout(idleMs, () => socket.destroy());
  socket.on('error', () => {});
  socket.on('data', (chunk: string) => {
    buffered += chunk;
    const lines = buffered.split('\n');
    buffered = lines.pop() ?? '';
    if (buffered.length > maxRequestBytes || lines.some((line) => line.length > maxRequestBytes)) {
      socket.end(encodeLine({ ok: false, error: `A request has at most ${maxRequestBytes} bytes` }));
      return;
    }
    waiting += lines.length;
    if (waiting > maxWaitingRequests || socket.writableLength > maxUnreadBytes) {
      socket.destroy();
      return;
    }
    for (const line of lines) {
      queue = queue.then(async () => {
        if (socket.destroyed) return;
        const reply = await answer(line, allowed, handle);
        waiting--;
        if (socket.writable) socket.write(encodeLine(reply));
      });
    }
  });
}

async function answer(
  line: string,
  allowed: readonly ControlRequestKind[],
  handle: ControlHandler,
): Promise<ControlReply> {
  try {
    const request = decodeRequest(line);
    if (!allowed.includes(request.request)) {
      return { ok: false, error: `${request.request} is not allowed on this socket` };
    }
    return { ok: true, result: (await handle(request)) ?? null };
  } catch (error) {
    return { ok: false, error: messageOf(error) };
  }
}
