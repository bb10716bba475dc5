/**
 * The edge process: what strangers meet on ports 443 and 80, as one user that owns nothing else. Wiring only.
 *
 * 443: the multiplexer; IMAP and submission go on to Dovecot and Postfix, the rest is the web server's, here.
 * 80: answers to certificate authorities, and the way to HTTPS.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener } from 'node:http';
import type { Server } from 'node:net';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { clientKey } from './base/client-address.ts';
import { systemClock } from './base/clock.ts';
import { messageOf } from './base/errors.ts';
import type { Log } from './base/log.ts';
import { RateLimiter } from './base/rate-limit.ts';
import { runDaemon } from './base/run-daemon.ts';
import { isVouchedFor } from './boot/certificate.ts';
import { certificateNames } from './contract/certificate.ts';
import { type Config, parseConfigText } from './contract/config.ts';
import type { Domain } from './contract/domain.ts';
import { paths as devicePaths } from './contract/paths.ts';
import { ports as devicePorts } from './contract/ports.ts';
import { createEdgeKeepers } from './edge-keepers.ts';
import { createHttpsServer } from './http/https-server.ts';
import { connectionLimits, limitBody } from './http/limits.ts';
import { createPlainServer } from './http/plain-server.ts';
import { createTlsAlpnServer, tlsAlpnProtocol } from './http/tls-alpn-server.ts';
import { maxRequestHeaderBytes } from './mxdeliv/envelope.ts';
import { createMxDelivHandler } from './mxdeliv/handler.ts';
import { hostnameOf } from './render/locals.ts';
import { askSupervisor } from './supervise/control-client.ts';
import { type Backend, createMux } from './tls-mux/server.ts';
import { createWebHandler } from './web/handler.ts';
import { createInviteTokenClient } from './web/invite-token-client.ts';
import { loadPages } from './web/pages.ts';

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
  let vouchedFor = isVouchedFor(credentials, config);
  const supervisorSocket = join(dirname(paths.supervisorSocket), 'edge.sock');

  const keepers = await createEdgeKeepers({
    config,
    paths,
    reload: async (signal) => {
      await askSupervisor(supervisorSocket, { request: 'reload-certificates' }, signal);
    },
    tlsPorts: [ports.https, ports.imaps, ports.submissions],
    clock: systemClock,
    log,
  });
  const limits = connectionLimits(totalmem());
  const webHandler = createWebHandler({
    pages: await loadPages(paths.templates),
    config: () => config,
    isVouchedFor: () => vouchedFor,
    isHealthy: async (signal) =>
      v.parse(healthSchema, await askSupervisor(supervisorSocket, { request: 'status' }, signal)).healthy,
    inviteTokens: createInviteTokenClient(paths.accountsSocket),
    clock: systemClock,
    log: log.child('web'),
  });
  const pageRequests = new RateLimiter({ ...pageRate, clock: systemClock });
  const pages: RequestListener = (request, response) => {
    if (pageRequests.take(clientKey(request.socket.remoteAddress ?? '')) > 0) {
      response.writeHead(429, { 'retry-after': '60', connection: 'close' }).end();
      return;
    }
    limitBody(request, bodyTimeoutMs);
    webHandler(request, response);
  };
  const mxDeliv = stack.use(
    createMxDelivHandler({
      limits: () => config.mail,
      injectionPort: ports.injection,
      localName: hostnameOf(config),
      maxConcurrent: limits.deliveries,
      log: log.child('mxdeliv'),
    }),
  );
  const httpsServer = stack.use(
    createHttpsServer({
      credentials,
      handle: (request, response) => {
        if (vouchedFor) response.setHeader('strict-transport-security', strictTransportSecurity);
        if (pathOf(request) === '/mxdeliv') mxDeliv(request, response);
        else pages(request, response);
      },
      maxConnections: limits.https,
      clock: systemClock,
      maxHeaderBytes: maxRequestHeaderBytes(config.mail.maxRecipients),
      log: log.child('https'),
    }),
  );
  const tlsAlpnServer = stack.use(
    createTlsAlpnServer((name) => keepers.challenges.tlsAlpn.secureContext(name)),
  );

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
      maxConnections: limits.mux,
      maxStalled: limits.stalled,
      log: log.child('mux'),
    },
    stop.signal,
  );
  const plainServer = createPlainServer({
    respondToChallenge: (path) => keepers.challenges.http.respond(path),
    hosts: httpsHosts(config.domain),
    pages: () => (vouchedFor ? undefined : pages),
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

  const keeping = keepers.run(stop.signal);
  keeping.catch((error: unknown) => log.error('keeping failed', { error: messageOf(error) }));
  const running = stack.move();
  return {
    httpsPort,
    httpPort,
    async reload() {
      const next = parseConfigText(await readFile(paths.edgeConfig, 'utf8'));
      const nextCredentials = await readFile(paths.tlsCredentials, 'utf8');
      if (nextCredentials !== credentials) httpsServer.setCredentials(nextCredentials);
      credentials = nextCredentials;
      config = next;
      vouchedFor = isVouchedFor(credentials, config);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await keeping.catch(() => {});
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
  const [first = '', ...others] = certificateNames(domain);
  return [domain.kind === 'ip' && domain.family === 6 ? `[${first}]` : first, ...others];
}

/** What is asked for, without the query. */
function pathOf({ url = '' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? '';
}

const healthSchema = v.object({ healthy: v.boolean() });

/** Forms and the like: nobody needs longer to send one. */
const bodyTimeoutMs = 20_000;

/**
 * Of one address (or /64): the start page of a relay that signs for itself is drawn anew each time, tens of
 * milliseconds on a small board, and all connections wait for it.
 */
const pageRate = { perMinute: 600, burst: 300, maxKeys: 10_000 };

if (import.meta.main)
  await runDaemon('edge', (log) => startEdge({ paths: devicePaths, ports: devicePorts, log }));
