/**
 * Ports 443 and 80 as strangers meet them: mail clients by their protocol, browsers, floods. The real root
 * filesystem and service table, in namespaces.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hashPassword } from '../../appliance/accounts/password.ts';
import { dayOf, openAccountStore } from '../../appliance/accounts/store.ts';
import { paths } from '../../appliance/contract/paths.ts';
import { askSupervisor } from '../../appliance/supervise/control-client.ts';
import { ImapClient, SmtpClient, startTls } from '../oracles/mail-client.ts';
import { builtRoot } from './built-image.ts';
import { encrypted } from './messages.ts';
import { clientAddress, RelayNamespace, relayAddress, waitUntil } from './relay-namespace.ts';

const domain = 'chat.test.example';
const password = 'correct-horse-battery';
const cheap = { memoryKib: 64, passes: 1, parallelism: 1 };
let relay: RelayNamespace;
let made = 0;

beforeAll(async () => {
  relay = await RelayNamespace.start({ rootImage: (await builtRoot()).path, config: { domain } });
});
afterAll(async () => {
  await relay?.[Symbol.asyncDispose]();
});

/** The address of an account. Made here: on a machine as busy as one that runs tests the relay makes none. */
async function freshAddress(): Promise<string> {
  const address = `edge${String(++made).padStart(5, '0')}@${domain}`;
  const store = openAccountStore(join(relay.dataDirectory, 'relay/accounts.sqlite'));
  try {
    store.create(address, await hashPassword(password, cheap), dayOf(Date.now()));
  } finally {
    store.close();
  }
  return address;
}

async function on443(...alpn: string[]): Promise<TLSSocket> {
  return startTls(await relay.connect(443), domain, alpn);
}

/** Sends a request without a body and returns the whole answer. */
async function request(socket: Socket, path: string, method = 'GET'): Promise<string> {
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: ${domain}\r\nConnection: close\r\n\r\n`);
  let heard = '';
  for await (const chunk of socket as AsyncIterable<Buffer>) heard += chunk.toString();
  return heard;
}

const overHttps = async (path: string) => request(await on443('http/1.1'), path);

/** What a service has said; it reaches the disk after a while. */
async function logOf(service: string): Promise<string> {
  return readFile(join(relay.dataDirectory, `log/${service}.log`), 'utf8').catch(() => '');
}

/** What the supervisor still holds in memory; on the disk people are left out. */
async function recentLog(service: string): Promise<string> {
  const socket = await relay.inside(paths.supervisorSocket);
  const request = { request: 'logs', service, lines: 500 } as const;
  return String(await askSupervisor(socket, request, AbortSignal.timeout(10_000)));
}

/** Resident memory the process has to itself and its share of what it has with others (proc_pid_smaps(5)). */
async function pssBytes(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024;
}

describe('port 443', () => {
  test('is IMAP for whoever asks for it, and Dovecot knows from where', async () => {
    using client = new ImapClient(await on443('imap'));
    expect(await client.greeting()).toContain('XCHATMAIL');
    expect((await client.login(await freshAddress(), password)).status).toBe('OK');
    expect((await client.command('SELECT INBOX')).status).toBe('OK');
    // Dovecot writes nobody's address into a log, but knows who is there.
    const root = await relay.inside('/');
    const who = spawnSync('chroot', [root, '/usr/bin/doveadm', 'who'], { encoding: 'utf8' });
    expect(who.stdout, who.stderr).toContain(`(${clientAddress})`);
  });

  test('is submission for whoever asks for it, and Postfix knows from where', async () => {
    const address = await freshAddress();
    using client = new SmtpClient(await on443('smtp'));
    await client.reply();
    await client.command('EHLO client.example');
    expect(await client.login(address, password)).toMatchObject({ code: 235 });
    expect(await client.send(address, [address], encrypted(address))).toMatchObject({ code: 250 });
    await waitUntil(
      async () => (await recentLog('postfix')).includes(`connect from unknown[${clientAddress}]`),
      30_000,
      () => 'the client’s address in what Postfix says',
    );
    await waitUntil(
      async () => (await logOf('postfix')).includes('connect from unknown[…]'),
      30_000,
      () => 'the connection in the log of Postfix',
    );
    expect(await logOf('postfix')).not.toMatch(
      new RegExp(`${RegExp.escape(clientAddress)}|${RegExp.escape(address)}`),
    );
    using inbox = new ImapClient(await on443('imap'));
    await inbox.greeting();
    expect((await inbox.login(address, password)).status).toBe('OK');
    await waitUntil(
      async () => / 1 EXISTS/.test((await inbox.command('SELECT INBOX')).untagged),
      20_000,
      () => 'the message',
    );
  });

  test('is the web for everybody else', async () => {
    const page = await overHttps('/');
    expect(page).toMatch(/^HTTP\/1\.1 200 /);
    expect(page).toContain(domain);
    expect(page).not.toMatch(/^strict-transport-security/im);
    expect(await overHttps('/health')).toMatch(/\{"status":"ok"\}/);
    expect(await request(await on443(), '/nowhere')).toMatch(/^HTTP\/1\.1 404 /);
  });

  test('takes no other mail over HTTPS than over port 25', async () => {
    const socket = await on443('http/1.1');
    const message = encrypted('a@example.net');
    socket.write(
      [
        'POST /mxdeliv HTTP/1.1',
        `Host: ${domain}`,
        'Connection: close',
        'X-MAIL-FROM: a@example.net',
        `X-MAIL-TO: ${await freshAddress()}`,
        `Content-Length: ${Buffer.byteLength(message)}`,
        '',
        message,
      ].join('\r\n'),
    );
    let heard = '';
    for await (const chunk of socket as AsyncIterable<Buffer>) heard += chunk.toString();
    expect(heard).toMatch(/^HTTP\/1\.1 400 /);
    expect(heard).toContain('No DKIM signature found');
  });
});

describe('port 80', () => {
  test('shows the pages, as long as the relay signs for itself', async () => {
    const page = await request(await relay.connect(80), '/');
    expect(page).toMatch(/^HTTP\/1\.1 200 /);
    expect(page).toContain(domain);
    expect(await request(await relay.connect(80), '/.well-known/acme-challenge/x')).toMatch(/ 404 /);
    expect(await request(await relay.connect(80), '/new', 'POST')).toMatch(/ 405 /);
  });
});

describe('the edge', () => {
  test('tells the supervisor how the certificate stands', async () => {
    await relay.waitForConsole(/TLS +its own, until 20\d\d-/, 20_000);
  });

  test('serves mail while hundreds say nothing', async () => {
    const idleBytes = await pssBytes(await relay.pidOf(/edge\.js/));
    const silent: Socket[] = [];
    // All of them from one address, which may have that many.
    for (let count = 0; count < 490; count++) silent.push((await relay.connect(443)).on('error', () => {}));
    using client = new ImapClient(await on443('imap'));
    await client.greeting();
    expect((await client.login(await freshAddress(), password)).status).toBe('OK');
    const busyBytes = await pssBytes(await relay.pidOf(/edge\.js/));
    console.log(
      `edge: ${(idleBytes / 1e6).toFixed(1)} MB idle, ${(busyBytes / 1e6).toFixed(1)} MB with 490 silent`,
    );
    // Dropped after their deadline.
    for (const socket of silent) if (!socket.closed) await once(socket.resume(), 'close');
  });

  test('is back within seconds after it was killed, and mail on its own ports never notices', async () => {
    using direct = new ImapClient(await startTls(await relay.connect(993), domain));
    await direct.greeting();
    expect((await direct.login(await freshAddress(), password)).status).toBe('OK');
    process.kill(await relay.pidOf(/edge\.js/), 'SIGKILL');
    expect((await direct.command('NOOP')).status).toBe('OK');
    await waitUntil(
      async () => (await overHttps('/').catch(() => '')).startsWith('HTTP/1.1 200'),
      10_000,
      () => 'the edge',
    );
    expect((await direct.command('NOOP')).status).toBe('OK');
  });

  test('reads the certificate again when told to', async () => {
    const before = relay.console.length;
    process.kill(await relay.pidOf(/edge\.js/), 'SIGHUP');
    await waitUntil(
      async () => (await logOf('edge')).includes('"reloaded"'),
      30_000,
      () => `a reload\n${relay.console.slice(before)}`,
    );
  });

  test('runs as nobody special', async () => {
    const pid = await relay.pidOf(/edge\.js/);
    expect(await readFile(`/proc/${pid}/status`, 'utf8')).toMatch(/^Uid:\t106\t106\t106\t106$/m);
    expect(await readFile(`/proc/${pid}/status`, 'utf8')).toMatch(/^CapEff:\t0+$/m);
  });
});

describe('TLS', () => {
  test.each([443, 993, 465])('on port %d is of today only, with ciphers that nobody complains of', (port) => {
    const report = relay.runAsClient('sslscan', '--no-colour', '--no-heartbleed', `${relayAddress}:${port}`);
    for (const version of ['SSLv2', 'SSLv3', 'TLSv1.0', 'TLSv1.1']) {
      expect(report).toMatch(new RegExp(`${version} +disabled`));
    }
    expect(report).toMatch(/TLSv1\.3 +enabled/);
    expect(report).not.toMatch(/insecure/i);
    const accepted = [...report.matchAll(/^(?:Accepted|Preferred) +(\S+) +(\d+) bits +(\S+)/gm)];
    expect(accepted.length).toBeGreaterThan(0);
    for (const [line, , bits, cipher = ''] of accepted) {
      expect(Number(bits), line).toBeGreaterThanOrEqual(128);
      // Forward secrecy and authenticated encryption, both.
      expect(cipher).toMatch(/^(TLS_|ECDHE-)/);
      expect(cipher).toMatch(/GCM|POLY1305|CCM/);
    }
  });
});
