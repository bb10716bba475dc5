/**
 * Answers a certificate authority that looks in by TLS itself (RFC 8737): the handshake shows a certificate made
 * for the challenge, and that is all there is to it.
 */
import type { Socket } from 'node:net';
import { createServer, type SecureContext } from 'node:tls';

export interface TlsAlpnServer extends Disposable {
  /** Takes over a socket whose next bytes are a ClientHello's. */
  accept(client: Socket): void;
}

export const tlsAlpnProtocol = 'acme-tls/1';

const handshakeTimeoutMs = 10_000;
/** Authorities look from a handful of places at a time. */
const maxConnections = 50;

/** @param contextFor what to show for a server name; undefined while no challenge is open for it */
export function createTlsAlpnServer(
  contextFor: (serverName: string) => SecureContext | undefined,
): TlsAlpnServer {
  const clients = new Set<Socket>();
  const server = createServer({
    ALPNProtocols: [tlsAlpnProtocol],
    minVersion: 'TLSv1.2',
    handshakeTimeout: handshakeTimeoutMs,
    SNICallback: (serverName, done) => {
      const context = contextFor(serverName.toLowerCase());
      if (context === undefined) done(new Error('No challenge is open for this name'));
      else done(null, context);
    },
  });
  // RFC 8737 §3: after the handshake the connection is closed.
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {});
    socket.end();
    socket.resume();
  });
  server.on('tlsClientError', (_, socket) => socket.destroy());
  return {
    accept(client) {
      if (clients.size >= maxConnections) {
        client.destroy();
        return;
      }
      clients.add(client);
      client.once('close', () => clients.delete(client));
      client.setTimeout(handshakeTimeoutMs, () => client.destroy());
      server.emit('connection', client);
    },
    [Symbol.dispose]() {
      for (const client of clients) client.destroy();
    },
  };
}
