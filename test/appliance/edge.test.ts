import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get as getPlain, type IncomingMessage } from 'node:http';
import { Agent, get, type RequestOptions } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect, type ConnectionOptions, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import forge from 'node-forge';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../appliance/base/log.ts';
import { isOwnCertificate, makeSelfSigned } from '../../appliance/boot/certificate.ts';
import { parseDomain } from '../../appliance/contract/domain.ts';
import { decodeEdgeStatus } from '../../appliance/contract/edge-status.ts';
import { paths as devicePaths } from '../../appliance/contract/paths.ts';
import { ports as devicePorts } from '../../appliance/contract/ports.ts';
import { type Edge, startEdge } from '../../appliance/edge.ts';

const domain = 'chat.example.org';
let first: string;
let second: string;
let directory: string;
let edge: Edge;
let backends: Server[];
const paths = () => ({
  ...devicePaths,
  templates: resolve(import.meta.dirname, '../../templates'),
  acme: join(directory, 'acme'),
  edgeStatus: join(directory, 'status.json'),
  accountsSocket: join(directory, 'accounts.sock'),
  supervisorSocket: join(directory, 'control.sock'),
  dnsCredentials: join(directory, 'dns-credentials.json'),
  edgeConfig: join(directory, 'config.json'),
  tlsCredentials: join(directory, 'relay.pem'),
});

async function credentials(): Promise<string> {
  const { keyPem, certificatePem } = await makeSelfSigned(parseDomain(domain), Date.now());
  return keyPem + certificatePem;
}

/** Key and certificate as above, but vouched for by somebody else. */
async function vouchedFor(): Promise<string> {
  const { keyPem, certificatePem } = await makeSelfSigned(parseDomain(domain), Date.now());
  const { keyPem: authorityKey } = await makeSelfSigned(parseDomain('authority.example'), Date.now());
  const certificate = forge.pki.certificateFromPem(certificatePem);
  certificate.setIssuer([{ name: 'commonName', value: 'An authority' }]);
  certificate.sign(forge.pki.privateKeyFromPem(authorityKey), forge.md.sha256.create());
  return keyPem + forge.pki.certificateToPem(certificate);
}

/** What Dovecot or Postfix are here: TLS after a PROXY header, and a greeting with the client's port. */
async function backend(greeting: string): Promise<number> {
  const tls = createTlsServer({ key: first, cert: first }, (socket) => {
    socket.on('error', () => {});
    socket.end(greeting);
  });
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.once('readable', () => {
      socket.read(28);
      tls.emit('connection', socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  backends.push(server);
  return (server.address() as AddressInfo).port;
}

beforeAll(async () => {
  [first, second] = await Promise.all([credentials(), credentials()]);
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'edge-'));
  backends = [];
  await writeFile(paths().edgeConfig, JSON.stringify({ domain, tls: { certificate: 'self-signed' } }));
  await writeFile(paths().tlsCredentials, first);
  const ports = {
    ...devicePorts,
    https: 0,
    http: 0,
    imapsProxy: await backend('* OK imap\r\n'),
    submissionsProxy: await backend('220 smtp\r\n'),
  };
  edge = await startEdge({ paths: paths(), ports, log: silentLog });
});
afterEach(async () => {
  await edge[Symbol.asyncDispose]();
  for (const server of backends) server.close();
  await rm(directory, { recursive: true });
});

async function secure(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: edge.httpsPort, rejectUnauthorized: false, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

async function answer(request: ReturnType<typeof get>): Promise<IncomingMessage> {
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.resume();
  return response;
}

const overHttps = (options: RequestOptions = {}) =>
  answer(
    get({ host: '127.0.0.1', port: edge.httpsPort, rejectUnauthorized: false, agent: false, ...options }),
  );

describe('startEdge', () => {
  test('sends mail clients on to mail servers by their protocol, and answers the rest itself', async () => {
    for (const [protocol, greeting] of [
      ['imap', '* OK imap\r\n'],
      ['smtp', '220 smtp\r\n'],
    ] as const) {
      const socket = await secure({ ALPNProtocols: [protocol] });
      const [heard] = (await once(socket, 'data')) as [Buffer];
      expect(heard.toString()).toBe(greeting);
    }
    expect((await overHttps()).statusCode).toBe(200);
  });

  test('draws pages for one address so often a minute and no more, and takes mail all the same', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    let answered = 0;
    while (answered < 1000 && (await overHttps({ agent, path: '/robots.txt' })).statusCode === 200)
      answered++;
    expect(answered).toBeGreaterThanOrEqual(300);
    expect(answered).toBeLessThan(1000);
    expect((await overHttps({ path: '/mxdeliv' })).statusCode).toBe(405);
    agent.destroy();
  });

  test('reads a new certificate on reload, and keeps the connections it has', async () => {
    const open = await secure({ ALPNProtocols: ['http/1.1'] });
    const before = open.getPeerX509Certificate()?.fingerprint256;
    await writeFile(paths().tlsCredentials, second);
    await edge.reload();
    const after = await secure();
    expect(after.getPeerX509Certificate()?.fingerprint256).not.toBe(before);
    open.write(`GET / HTTP/1.1\r\nHost: ${domain}\r\n\r\n`);
    const [heard] = (await once(open, 'data')) as [Buffer];
    expect(heard.toString()).toMatch(/^HTTP\/1.1 200/);
    open.destroy();
    after.destroy();
  });

  test('goes on with the certificate it has when the new one is none', async () => {
    await writeFile(paths().tlsCredentials, 'nonsense');
    await expect(edge.reload()).rejects.toThrow();
    expect((await overHttps()).statusCode).toBe(200);
  });

  test('tells nobody to stay with a certificate that is only its own', async () => {
    expect((await overHttps()).headers['strict-transport-security']).toBeUndefined();
    const plain = await answer(getPlain({ host: '127.0.0.1', port: edge.httpPort, agent: false }));
    expect(plain.statusCode).toBe(200);
  });

  test('sends everybody to HTTPS and keeps them there once an authority vouches for it', async () => {
    const credentials = await vouchedFor();
    expect(isOwnCertificate(credentials)).toBe(false);
    await writeFile(paths().tlsCredentials, credentials);
    await edge.reload();
    expect((await overHttps()).headers['strict-transport-security']).toMatch(/^max-age=\d+$/);
    const plain = await answer(
      getPlain({ host: '127.0.0.1', port: edge.httpPort, path: '/info', agent: false }),
    );
    expect([plain.statusCode, plain.headers.location]).toEqual([301, `https://${domain}/info`]);
  });

  test('takes mail for /mxdeliv at its own handler, and only there', async () => {
    expect((await overHttps({ path: '/mxdeliv' })).statusCode).toBe(405);
    expect((await overHttps({ path: '/mxdeliver' })).statusCode).toBe(404);
    const port80 = { host: '127.0.0.1', port: edge.httpPort, path: '/mxdeliv', agent: false };
    expect((await answer(getPlain(port80))).statusCode).toBe(404);
  });

  test('tells the supervisor how its certificate is', async () => {
    const read = async () => decodeEdgeStatus(await readFile(paths().edgeStatus, 'utf8'));
    await expect
      .poll(async () => (await read().catch(() => undefined))?.certificate.state, { timeout: 10_000 })
      .toBe('self-signed');
    expect((await read()).problems).toEqual([]);
  });
});
