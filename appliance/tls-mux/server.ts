/**
 * Many services on one TLS port: looks at the ClientHello and picks a backend by ALPN. A backend of another
 * process gets a connection of its own and from then on only bytes are carried; one in this process gets the
 * client's socket itself. It holds no key and terminates nothing; strangers cost it a few kilobytes, for a
 * few seconds.
 */
import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { ClientCounter, clientKey } from '../base/client-address.ts';
import type { Log } from '../base/log.ts';
import { maxReceivedBytes, readClientHello } from './client-hello.ts';
import { encodeProxyHeader } from './proxy-header.ts';

/** A server in another process. */
export interface ConnectBackend {
  readonly kind: 'connect';
  readonly name: string;
  readonly target: Pick<
    NetConnectOpts & { host?: string; port?: number; path?: string },
    'host' | 'port' | 'path'
  >;
  /** Send the PROXY header first, so that the backend sees the client's address. */
  readonly proxyHeader: boolean;
}

/** A server in this process. */
export interface AcceptBackend {
  readonly kind: 'accept';
  readonly name: string;
  /** Takes over the client's socket, whose next bytes to read are the ClientHello's first, and its deadlines. */
  readonly accept: (client: Socket) => void;
}

export type Backend = ConnectBackend | AcceptBackend;

export interface MuxOptions {
  /** By ALPN protocol; the client's first protocol that is here wins. */
  readonly byProtocol: ReadonlyMap<string, Backend>;
  /** For everything else, TLS without ALPN among it. */
  readonly fallback: Backend;
  readonly log: Log;
  /** A client that has not said hello after so long is dropped. */
  readonly helloTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
  /**
   * A connection on which nothing moved in either direction for so long is dropped. IDLE clients speak every
   * few minutes.
   */
  readonly idleTimeoutMs?: number;
  readonly maxConnections?: number;
  /** Connections that have not said hello; when there are more, the one that waits longest is dropped. */
  readonly maxWaiting?: number;
  /**
   * Connections of which one side does not take what the other has sent; each holds up to 200 kB. When there are
   * more, the one that has stood still longest is dropped.
   */
  readonly maxStalled?: number;
  /** Of one IPv4 address, or one IPv6 /64. Many phones share the address of their provider. */
  readonly maxPerAddress?: number;
}

const defaults = {
  helloTimeoutMs: 10_000,
  connectTimeoutMs: 5_000,
  idleTimeoutMs: 35 * 60_000,
  maxConnections: 20_000,
  maxWaiting: 1000,
  maxStalled: 500,
  maxPerAddress: 500,
};

/** What all connections of a multiplexer share. */
interface Shared {
  readonly settings: typeof defaults & MuxOptions;
  /** What holds bytes that its peer does not take, in the order since when; with the client it belongs to. */
  readonly stalled: Map<Socket, Socket>;
  /** Backends that did not answer the last time. */
  readonly down: Set<string>;
}

/** TLS alert: fatal, internal_error, which says "not now" (RFC 8446 §6). */
const alertInternalError = Uint8Array.of(0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x50);

/** For people who wrote http:// before a name and :443 behind it. */
const httpAnswer = [
  'HTTP/1.1 400 Bad Request',
  'Content-Type: text/plain; charset=utf-8',
  'Content-Length: 44',
  'Connection: close',
  '',
  'This port speaks TLS: use https:// instead.\n',
].join('\r\n');

/**
 * A server that is not listening yet. When `signal` fires it closes and connections end, but for those that
 * an `accept` backend took: they are that backend's.
 */
export function createMux(options: MuxOptions, signal: AbortSignal): Server {
  const settings = { ...defaults, ...options };
  const shared: Shared = { settings, stalled: new Map(), down: new Set() };
  const perAddress = new ClientCounter(settings.maxPerAddress);
  const clients = new Set<Socket>();
  /** In the order of their arrival. */
  const waiting = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (client) => {
    const key = clientKey(client.remoteAddress ?? '');
    if (signal.aborted || !perAddress.tryEnter(key)) {
      client.destroy();
      return;
    }
    clients.add(client);
    client.once('close', () => {
      perAddress.leave(key);
      clients.delete(client);
      waiting.delete(client);
    });
    waiting.add(client);
    const [longest] = waiting;
    if (longest !== undefined && waiting.size > settings.maxWaiting) {
      waiting.delete(longest);
      longest.destroy();
    }
    awaitHello(client, settings, (received, backend) => {
      waiting.delete(client);
      if (backend.kind === 'connect') {
        carry(client, received, backend, shared);
        return;
      }
      clients.delete(client);
      client.unshift(received);
      backend.accept(client);
    });
  });
  server.maxConnections = settings.maxConnections;
  // accept(2) tells of errors of the network and of want of descriptors, too: the next client may do better.
  server.on('error', (error) => settings.log.warn('accept failed', { error: error.message }));
  signal.addEventListener(
    'abort',
    () => {
      server.close();
      for (const client of clients) client.destroy();
    },
    { once: true },
  );
  return server;
}

function awaitHello(
  client: Socket,
  settings: Shared['settings'],
  choose: (received: Buffer, backend: Backend) => void,
): void {
  // One buffer that grows, not a list: a thousand packets of one byte must not cost a thousand buffers.
  let buffer: Buffer = Buffer.alloc(0);
  let length = 0;
  let atLeastBytes = 0;
  const drop = () => client.destroy();
  const deadline = setTimeout(drop, settings.helloTimeoutMs);
  const forget = () => clearTimeout(deadline);
  const onData = (chunk: Buffer) => {
    if (length === 0) {
      buffer = chunk;
    } else if (length + chunk.length <= buffer.length) {
      buffer.set(chunk, length);
    } else {
      const larger = Buffer.allocUnsafeSlow(Math.max(maxReceivedBytes, length + chunk.length));
      larger.set(buffer.subarray(0, length));
      larger.set(chunk, length);
      buffer = larger;
    }
    length += chunk.length;
    if (length < atLeastBytes) return;
    const received = buffer.subarray(0, length);
    const result = readClientHello(received);
    if (result.kind === 'incomplete') {
      ({ atLeastBytes } = result);
      return;
    }
    forget();
    client.off('data', onData).off('end', drop).off('close', forget);
    if (result.kind !== 'hello') {
      if (/^[A-Z]{3,7} [/*h]/.test(received.toString('latin1', 0, 10))) client.end(httpAnswer);
      client.destroySoon();
      return;
    }
    client.pause();
    const protocol = result.hello.protocols.find((name) => settings.byProtocol.has(name));
    const backend = protocol === undefined ? undefined : settings.byProtocol.get(protocol);
    choose(received, backend ?? settings.fallback);
  };
  client.on('error', drop).on('close', forget);
  client.on('data', onData).on('end', drop);
  client.resume();
}

/** Opens the backend, hands it what has been read, and lets bytes flow until both sides are done. */
function carry(
  client: Socket,
  received: Buffer,
  backend: ConnectBackend,
  { settings, stalled, down }: Shared,
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
  const onStall = (side: Socket, isStalled: boolean) => {
    stalled.delete(side);
    if (!isStalled) return;
    stalled.set(side, client);
    const [longest] = stalled;
    if (longest === undefined || stalled.size <= settings.maxStalled) return;
    stalled.delete(longest[0]);
    longest[1].destroy();
  };
  let connected = false;
  const deadline = setTimeout(() => target.destroy(new Error('timeout')), settings.connectTimeoutMs);
  target.once('connect', () => {
    connected = true;
    clearTimeout(deadline);
    down.delete(backend.name);
    target.write(Buffer.concat([header, received]));
    forward(client, target, onStall);
    forward(target, client, onStall);
    // Every byte in either direction is read from or written to this one.
    client.setTimeout(settings.idleTimeoutMs, () => client.destroy());
  });
  target.on('error', (error) => {
    if (!connected) {
      // Once, and not for every client that tries meanwhile.
      if (!down.has(backend.name)) {
        settings.log.warn('backend does not answer', { backend: backend.name, error: error.message });
      }
      down.add(backend.name);
      client.end(alertInternalError);
    }
    client.destroySoon();
  });
  client.once('close', () => {
    clearTimeout(deadline);
    stalled.delete(client);
    stalled.delete(target);
    target.destroy();
  });
  target.once('close', () => client.destroySoon());
}

/** Sends on what `from` says for as long as `to` takes it; says when `to` stands still and when it goes on. */
function forward(from: Socket, to: Socket, onStall: (side: Socket, isStalled: boolean) => void): void {
  from.on('data', (chunk: Buffer) => {
    if (to.write(chunk)) return;
    from.pause();
    onStall(to, true);
  });
  to.on('drain', () => {
    onStall(to, false);
    from.resume();
  });
  from.once('end', () => to.end());
  from.resume();
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
