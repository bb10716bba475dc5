/**
 * The edge process: what strangers meet on ports 443 and 80, as one user that owns nothing else. Wiring only.
 *
 * 443: the multiplexer; IMAP and submission go on to Dovecot and Postfix, the rest is the web server's, here.
 * 80: answers to certificate authorities, and the way to HTTPS.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import type { Server } from 'node:net';
import { messageOf } from './base/errors.ts';
import { createLog, type Log } from './base/log.ts';
import { isOwnCertificate } from './boot/certificate.ts';
import { type Config, parseConfigText } from './contract/config.ts';
import type { Domain } from './contract/domain.ts';
import { paths as devicePaths } from './contract/paths.ts';
import { ports as devicePorts } from './contract/ports.ts';
import { createHttpsServer } from './http/https-server.ts';
import { createPlainServer } from './http/plain-server.ts';
import { createTlsAlpnServer, tlsAlpnProtocol } from './http/tls-alpn-server.ts';
import { type Backend, createMux } from './tls-mux/server.ts';

type EdgePaths = { readonly [Name in keyof typeof devicePaths]: string };
type EdgePorts = { readonly [Name in keyof typeof devicePorts]: number };

export interface EdgeSettings {
  readonly paths: EdgePaths;
  /** 0 for `https` and `http` takes any that is free. */
  readonly ports: EdgePorts;
  readonly log: Log;
}

export interface Edge extends AsyncDisposable {
  readonly httpsPort: number;
  readonly httpPort: number;
  /**
   * Reads configuration and certificate again; open connections stay as they are.
   * @throws Error when a file is not usable, and what was in use stays so
   */
  reload(): Promise<void>;
}

/** Browsers keep to HTTPS for so long: not longer, in case the relay goes back to signing for itself. */
const strictTransportSecurity = `max-age=${30 * 24 * 3600}`;

/** Starts everything; resolves when both ports are open. */
export async function startEdge({ paths, ports, log }: EdgeSettings): Promise<Edge> {
  const stop = new AbortController();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => stop.abort());

  let config: Config = parseConfigText(await readFile(paths.edgeConfig, 'utf8'));
  let credentials = await readFile(paths.tlsCredentials, 'utf8');
  let selfSigned = isOwnCertificate(credentials);

  const pages: RequestListener = (_, response) => {
    response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('Nothing here\n');
  };
  const httpsServer = stack.use(
    createHttpsServer({
      credentials,
      handle: (request, response) => {
        if (!selfSigned) response.setHeader('strict-transport-security', strictTransportSecurity);
        pages(request, response);
      },
      log: log.child('https'),
    }),
  );
  const tlsAlpnServer = stack.use(createTlsAlpnServer(() => undefined));

  const mux = createMux(
    {
      byProtocol: new Map<string, Backend>([
        ['imap', { kind: 'connect', name: 'imap', target: { port: ports.imapsProxy }, proxyHeader: true }],
        [
          'smtp',
          { kind: 'connect', name: 'smtp', target: { port: ports.submissionsProxy }, proxyHeader: true },
        ],
        [
          tlsAlpnProtocol,
          { kind: 'accept', name: tlsAlpnProtocol, accept: (client) => tlsAlpnServer.accept(client) },
        ],
      ]),
      fallback: { kind: 'accept', name: 'https', accept: (client) => httpsServer.accept(client) },
      log: log.child('mux'),
    },
    stop.signal,
  );
  const plainServer = createPlainServer({
    respondToChallenge: () => undefined,
    hosts: httpsHosts(config.domain),
    pages: () => (selfSigned ? pages : undefined),
    log: log.child('http'),
  });
  stack.defer(() => {
    plainServer.close();
    plainServer.closeAllConnections();
  });
  const [httpsPort, httpPort] = await Promise.all([
    listen(mux, ports.https),
    listen(plainServer, ports.http),
  ]);

  const running = stack.move();
  return {
    httpsPort,
    httpPort,
    async reload() {
      const next = parseConfigText(await readFile(paths.edgeConfig, 'utf8'));
      const nextCredentials = await readFile(paths.tlsCredentials, 'utf8');
      if (nextCredentials !== credentials) httpsServer.setCredentials(nextCredentials);
      credentials = nextCredentials;
      selfSigned = isOwnCertificate(credentials);
      config = next;
    },
    async [Symbol.asyncDispose]() {
      await running.disposeAsync();
    },
  };
}

/** Listens on all addresses, IPv6 and IPv4 alike, and returns the port. */
async function listen(server: Server, port: number): Promise<number> {
  server.listen(port);
  await once(server, 'listening');
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

/** The hosts that the certificate names, as they stand in a URL. */
function httpsHosts(domain: Domain): [string, ...string[]] {
  if (domain.kind === 'ip') return [domain.family === 6 ? `[${domain.address}]` : domain.address];
  return [domain.name, `www.${domain.name}`, `mta-sts.${domain.name}`];
}

/** A supervisor that waits longer than this kills. */
const shutdownTimeoutMs = 2000;

/** Runs until SIGTERM or SIGINT. */
async function run(): Promise<void> {
  const log = createLog('edge', (line) => process.stdout.write(`${line}\n`));
  const edge = await startEdge({ paths: devicePaths, ports: devicePorts, log });
  log.info('ready', { afterMs: Math.round(performance.now()) });
  process.on('SIGHUP', () => {
    edge.reload().then(
      () => log.info('reloaded'),
      (error: unknown) => log.error('reload failed', { reason: messageOf(error) }),
    );
  });
  const stop = () => {
    setTimeout(() => process.exit(1), shutdownTimeoutMs).unref();
    edge[Symbol.asyncDispose]().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error('stop failed', { reason: messageOf(error) });
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

if (import.meta.main) await run();
