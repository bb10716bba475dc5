/**
 * HTTPS on sockets that are handed in: the multiplexer on 443 has looked at the ClientHello already. The
 * client's socket itself is used, so `request.socket.remoteAddress` is the client's.
 */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { ClientCounter, clientKey } from '../base/client-address.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { RateLimiter } from '../base/rate-limit.ts';
import { guarded } from './guarded.ts';

export interface HttpsServer extends Disposable {
  /** Takes over a socket whose next bytes are a ClientHello's. */
  accept(client: Socket): void;
  /**
   * For connections from now on; those that are open stay.
   * @throws Error when key and certificate are not of one another, and all stays as it was
   */
  setCredentials(pem: string): void;
}

export interface HttpsServerOptions {
  /** Key and certificate chain, PEM. */
  readonly credentials: string;
  readonly handle: RequestListener;
  /** Of a request. */
  readonly maxHeaderBytes: number;
  readonly log: Log;
  /** A client whose request headers are not there after so long gets 408. */
  readonly headersTimeoutMs?: number;
  /** A whole request with its body, however its handler measures progress: 30 MB of mail from a slow relay. */
  readonly requestTimeoutMs?: number;
  /** A quarter of them may be of one address (or /64). @default 1000 */
  readonly maxConnections?: number;
  /** Of one address (or /64): a handshake is the dearest thing a stranger can ask for, milliseconds on a small board. */
  readonly handshakes?: { readonly perMinute: number; readonly burst: number };
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/**
 * Mozilla's intermediate profile (Server Side TLS 5.7) without finite-field Diffie-Hellman: TLS 1.3, and 1.2 with
 * forward secrecy and authenticated encryption.
 */
const ciphers = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** What every TLS server of the edge has. */
export function serverContext(pem: string): SecureContextOptions {
  return {
    // Both are in one text: OpenSSL picks the block it is asked for.
    key: pem,
    cert: pem,
    minVersion: 'TLSv1.2',
    ciphers,
    honorCipherOrder: false, // All are good: phones without AES instructions prefer ChaCha20.
    // A client of TLS 1.2 could make us work by asking again and again.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
}

const handshakeTimeoutMs = 10_000;
/** On an average; shorter ones are sent to make us hold many. */
const leastHeaderBytes = 64;
/** Browsers come back for a second page, relays for a second message. */
const keepAliveTimeoutMs = 30_000;
/** A connection on which nothing moves at all; longer than the filter may take for a message. */
const idleTimeoutMs = 180_000;

/** An HTTPS server that listens nowhere. Disposed, it drops its connections. */
export function createHttpsServer(options: HttpsServerOptions): HttpsServer {
  const { headersTimeoutMs = 15_000, requestTimeoutMs = 3_600_000, maxConnections = 1000, log } = options;
  const maxHeaders = Math.floor(options.maxHeaderBytes / leastHeaderBytes);
  const server: Server = createServer(
    {
      ...serverContext(options.credentials),
      handshakeTimeout: handshakeTimeoutMs,
      maxHeaderSize: options.maxHeaderBytes,
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      connectionsCheckingInterval: Math.min(5000, headersTimeoutMs),
      keepAliveTimeout: keepAliveTimeoutMs,
    },
    guarded((request, response) => {
      // Node leaves out what is beyond its maximum, recipients of mail among it, and says nothing.
      if (request.rawHeaders.length < 2 * maxHeaders) options.handle(request, response);
      else response.writeHead(431, { connection: 'close' }).end();
    }, log),
  );
  server.maxHeadersCount = maxHeaders;
  server.timeout = idleTimeoutMs;
  server.maxRequestsPerSocket = 1000;
  // The deadlines of headers and requests are watched from this event on, which comes by itself only to a
  // server that listens.
  server.emit('listening');
  const clients = new Set<Socket>();
  // One who holds what he may leaves room for others, who may come from as few addresses.
  const perClient = new ClientCounter(Math.ceil(maxConnections / 4));
  // Room for what one browser or scanner does, and for many people behind one address.
  const { perMinute, burst } = options.handshakes ?? { perMinute: 600, burst: 300 };
  const handshakes = new RateLimiter({ perMinute, burst, clock: options.clock, maxKeys: 10_000 });
  return {
    accept(client) {
      const key = clientKey(client.remoteAddress ?? '');
      const mustWaitMs = handshakes.take(key);
      if (mustWaitMs > 0 || clients.size >= maxConnections || !perClient.tryEnter(key)) {
        client.destroy();
        return;
      }
      clients.add(client);
      client.once('close', () => {
        clients.delete(client);
        perClient.leave(key);
      });
      server.emit('connection', client);
    },
    setCredentials(pem) {
      // Tried first: the server itself would be left with half of it, and takes nothing at all for good.
      if (!new X509Certificate(pem).checkPrivateKey(createPrivateKey(pem))) {
        throw new Error('Key and certificate are not of one another');
      }
      server.setSecureContext(serverContext(pem));
    },
    [Symbol.dispose]() {
      // Ends the watching; the error that it never listened goes to a callback nobody gave.
      server.close(() => {});
      for (const client of clients) client.destroy();
    },
  };
}
