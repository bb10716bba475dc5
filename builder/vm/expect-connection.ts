/**
 * A port of this host that one program connects to, once: how QEMU reaches us. The other way round, every
 * user of this host could reach QEMU.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

export interface ExpectedConnection extends Disposable {
  readonly host: string;
  readonly port: number;
  /** The connection, not yet read from. Stays open when this is disposed of. Pending while nobody comes. */
  readonly socket: Promise<Socket>;
}

/** Listens on the loopback address until disposed of; whoever comes second is turned away. */
export async function expectConnection(signal: AbortSignal): Promise<ExpectedConnection> {
  const server = createServer({ pauseOnConnect: true });
  server.maxConnections = 1;
  const host = '127.0.0.1';
  const { promise, resolve } = Promise.withResolvers<Socket>();
  server.once('connection', resolve);
  server.listen({ host, port: 0, exclusive: true });
  try {
    await once(server, 'listening', { signal });
  } catch (error) {
    server.close();
    throw error;
  }
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('A TCP server has a port');
  return { host, port: address.port, socket: promise, [Symbol.dispose]: () => void server.close() };
}
