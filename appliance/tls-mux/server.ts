/**
 * Many services on one TLS port: looks at the ClientHello, picks a backend by ALPN, and from then on only
 * carries bytes. It holds no key and terminates nothing; strangers cost it a few kilobytes, for a few seconds.
 */
import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import type { Log } from '../base/log.ts';
import { maxClientHelloBytes, readClientHello } from './client-hello.ts';
import { encodeProxyHeader, unmapped } from './proxy-header.ts';

export interface Backend {
  readonly name: string;
  readonly target: Pick<
    NetConnectOpts & { host?: string; port?: number; path?: string },
    'host' | 'port' | 'path'
  >;
  /** Send the PROXY header first, so that the backend sees the client's address. */
  readonly proxyHeader: boolean;
}

export interface MuxOptions {
  /** By ALPN protocol; the client's first protocol that is here wins. */
  readonly byProtocol: ReadonlyMap<string, Backend>;
  /** For everything else, TLS without ALPN among it. */
  readonly fallback: Backend;
  readonly log: Log;
  /** A client that has not said hello after so long is dropped. */
  readonly helloTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
  /** A connection on which nothing moved in either direction for so long is dropped. IDLE clients speak every few minutes. */
  readonly idleTimeoutMs?: number;
  readonly maxConnections?: number;
  /** Of one IPv4 address, or one IPv6 /64. Many phones share the address of their provider. */
  readonly maxPerAddress?: number;
}

const defaults = {
  helloTimeoutMs: 10_000,
  connectTimeoutMs: 5_000,
  idleTimeoutMs: 35 * 60_000,
  maxConnections: 20_000,
  maxPerAddress: 500,
};

/** TLS alert: fatal, unrecognized_name would leak nothing; internal_error says "not now" (RFC 8446 §6). */
const alertInternalError = Uint8Array.of(0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x50);

/** A server that is not listening yet. Closing it leaves connections that are carried alone; destroy them by signal. */
export function createMux(options: MuxOptions, signal: AbortSignal): Server {
  const settings = { ...defaults, ...options };
  const perAddress = new Map<string, number>();
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (client) => {
    const key = addressKey(client.remoteAddress ?? '');
    const count = (perAddress.get(key) ?? 0) + 1;
    if (count > settings.maxPerAddress) {
      client.destroy();
      return;
    }
    perAddress.set(key, count);
    client.once('close', () => {
      const left = (perAddress.get(key) ?? 1) - 1;
      if (left > 0) perAddress.set(key, left);
      else perAddress.delete(key);
    });
    const stop = () => client.destroy();
    signal.addEventListener('abort', stop, { once: true });
    client.once('close', () => signal.removeEventListener('abort', stop));
    awaitHello(client, settings);
  });
  server.maxConnections = settings.maxConnections;
  signal.addEventListener('abort', () => server.close(), { once: true });
  return server;
}

function awaitHello(client: Socket, settings: typeof defaults & MuxOptions): void {
  const chunks: Buffer[] = [];
  let length = 0;
  const deadline = setTimeout(() => client.destroy(), settings.helloTimeoutMs);
  const leave = () => {
    clearTimeout(deadline);
    client.off('data', onData).off('end', drop);
  };
  const drop = () => client.destroy();
  const onData = (chunk: Buffer) => {
    chunks.push(chunk);
    length += chunk.length;
    const received = chunks.length === 1 ? chunk : Buffer.concat(chunks);
    const result = readClientHello(received);
    if (result.kind === 'incomplete' && length <= 2 * maxClientHelloBytes) return;
    leave();
    if (result.kind !== 'hello') {
      client.destroy();
      return;
    }
    client.pause();
    const protocol = result.hello.protocols.find((name) => settings.byProtocol.has(name));
    const backend =
      (protocol === undefined ? undefined : settings.byProtocol.get(protocol)) ?? settings.fallback;
    carry(client, received, backend, settings);
  };
  client.on('error', drop);
  client.once('close', () => clearTimeout(deadline));
  client.on('data', onData).on('end', drop);
  client.resume();
}

/** Opens the backend, hands it what has been read, and lets bytes flow until both sides are done. */
function carry(
  client: Socket,
  received: Buffer,
  backend: Backend,
  settings: typeof defaults & MuxOptions,
): void {
  // Asked before anything else can happen to the socket: a closed one has no addresses.
  const header = backend.proxyHeader ? headerFor(client) : new Uint8Array();
  if (header === undefined) {
    client.destroy();
    return;
  }
  const { host, port, path } = backend.target;
  const target = connect({
    allowHalfOpen: true,
    noDelay: true,
    ...(path === undefined ? { host: host ?? '127.0.0.1', port: port ?? 0 } : { path }),
  });
  let connected = false;
  const deadline = setTimeout(() => target.destroy(new Error('timeout')), settings.connectTimeoutMs);
  target.once('connect', () => {
    connected = true;
    clearTimeout(deadline);
    target.write(header);
    target.write(received);
    client.pipe(target);
    target.pipe(client);
    for (const side of [client, target]) {
      side.setTimeout(settings.idleTimeoutMs, () => {
        // Each socket hears only what it reads and writes itself; both carry the same bytes, so both are idle.
        client.destroy();
        target.destroy();
      });
    }
  });
  target.on('error', (error) => {
    if (!connected) {
      settings.log.warn('backend does not answer', { backend: backend.name, error: error.message });
      client.end(alertInternalError);
    }
    client.destroySoon();
  });
  client.on('error', () => target.destroy());
  client.once('close', () => {
    clearTimeout(deadline);
    target.destroy();
  });
  target.once('close', () => client.destroySoon());
}

function headerFor(client: Socket): Uint8Array | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = client;
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  if (localAddress === undefined || localPort === undefined) return undefined;
  return encodeProxyHeader(
    { address: remoteAddress, port: remotePort },
    { address: localAddress, port: localPort },
  );
}

/** What is counted as one client: an IPv4 address, or the /64 that one IPv6 customer owns. */
function addressKey(remote: string): string {
  const address = unmapped(remote);
  if (!address.includes(':')) return address;
  const [head = ''] = address.split('::');
  return head.split(':').slice(0, 4).join(':');
}
