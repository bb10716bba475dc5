import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hashPassword } from '../../appliance/accounts/password.ts';
import { dayOf, openAccountStore } from '../../appliance/accounts/store.ts';
import { ConfigError } from '../../appliance/base/errors.ts';
import { silentLog } from '../../appliance/base/log.ts';
import { paths as devicePaths } from '../../appliance/contract/paths.ts';
import { type Relay, startRelay } from '../../appliance/relay.ts';

const alice = 'alice.123@chat.example.org';
const password = 'correct horse';
const cheap = { memoryKib: 64, passes: 1, parallelism: 1 };

let directory = '';
let paths: { [Name in keyof typeof devicePaths]: string };
let gateway: Server;
let relay: Relay;
/** Filled by the gateway. */
let tokens: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'relay-'));
  paths = {
    ...devicePaths,
    config: join(directory, 'config.json'),
    dkimKey: join(directory, 'key.pem'),
    data: directory,
    accountsDatabase: join(directory, 'data/accounts.sqlite'),
    milterSocket: join(directory, 'milter.sock'),
    tlsReports: join(directory, 'tls-reports.json'),
    transportSocket: join(directory, 'transport.sock'),
    saslSocket: join(directory, 'sasl.sock'),
    accountsSocket: join(directory, 'accounts.sock'),
    authSocket: join(directory, 'auth.sock'),
    dictSocket: join(directory, 'dict.sock'),
    quotaSocket: join(directory, 'quota.sock'),
    doveadmSocket: join(directory, 'doveadm.sock'),
  };
  await mkdir(join(directory, 'data'));
  await writeConfig({});
  tokens = [];
  gateway = createServer((incoming, response) => {
    incoming.setEncoding('utf8');
    incoming.on('data', (chunk: string) => tokens.push(chunk));
    incoming.on('end', () => response.end());
  });
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve));
  const store = openAccountStore(paths.accountsDatabase);
  // Made here, since a new one is refused where the machine that runs the tests is busy.
  store.create(alice, await hashPassword(password, cheap), dayOf(Date.now()));
  store.close();
  relay = await startRelay({
    paths,
    gatewayUrl: `http://127.0.0.1:${(gateway.address() as AddressInfo).port}/notify`,
    log: silentLog,
  });
});
afterEach(async () => {
  await relay[Symbol.asyncDispose]();
  gateway.closeAllConnections();
  gateway.close();
  await rm(directory, { recursive: true });
});

const writeConfig = (document: object) =>
  writeFile(paths.config, JSON.stringify({ domain: 'chat.example.org', ...document }));

/** Sends `text` to a socket and reads until `end` matches. */
async function talk(path: string, text: string, end: RegExp): Promise<string> {
  const socket: Socket = connect(path);
  socket.write(text);
  let heard = '';
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    heard += chunk.toString();
    if (end.test(heard)) break;
  }
  return heard;
}

async function signIn(username: string, secret: string): Promise<string> {
  const response = Buffer.from(`\0${username}\0${secret}`).toString('base64');
  const heard = await talk(
    paths.saslSocket,
    `VERSION\t1\t0\nCPID\t1\nAUTH\t1\tPLAIN\tresp=${response}\n`,
    /^(OK|FAIL)\t.*\n/m,
  );
  return heard.split('DONE\n')[1] ?? '';
}

async function ask(path: string, form: Record<string, string>): Promise<number> {
  const outgoing = request({ socketPath: paths.authSocket, path, method: 'POST' });
  outgoing.end(new URLSearchParams(form).toString());
  const [response] = (await once(outgoing, 'response')) as [{ statusCode: number; resume: () => void }];
  response.resume();
  return response.statusCode;
}

describe('startRelay', () => {
  test('lets Postfix and Dovecot sign people in and look them up', async () => {
    expect(await signIn(alice, password)).toBe(`OK\t1\tuser=${alice}\n`);
    expect(await signIn(alice, 'wrong')).toBe('FAIL\t1\n');
    expect(await ask('/login', { user: alice, password })).toBe(200);
    expect(await ask('/lookup', { user: alice, service: 'lmtp' })).toBe(200);
    expect(await ask('/lookup', { user: 'nobody123@chat.example.org', service: 'lmtp' })).toBe(404);
  });

  test('wakes the devices of a recipient, and not those of the sender', async () => {
    const guid = '28f886030a0d016bcb00000083ecc375';
    const key = `priv/${guid}/devicetoken`;
    await talk(paths.dictSocket, `H4\t0\t0\t\tmetadata\nB1\t${alice}\t0\nS1\t${key}\ttoken\nC1\n`, /^O1\n/m);
    expect(await talk(paths.dictSocket, `H4\t0\t0\t\tmetadata\nL${key}\t${alice}\n`, /\n/)).toBe('Otoken\n');
    expect(await ask('/delivered', { user: alice, from: alice.toUpperCase() })).toBe(204);
    const posted = once(gateway, 'request');
    expect(await ask('/delivered', { user: alice, from: 'bob@example.net' })).toBe(204);
    await posted;
    await relay[Symbol.asyncDispose]();
    expect(tokens).toEqual(['token']);
  });

  test('tells clients how many recipients it takes', async () => {
    const key =
      'shared/28f886030a0d016bcb00000083ecc375/vendor/vendor.dovecot/pvt/server/vendor/deltachat/maxsmtprecipients';
    expect(await talk(paths.dictSocket, `H4\t0\t0\t\tmetadata\nL${key}\t${alice}\n`, /\n/)).toBe('O1000\n');
  });

  test('takes a new configuration, and keeps the old one when the new one is wrong', async () => {
    await writeConfig({ mail: { maxRecipients: 7 } });
    await relay.reload();
    const key =
      'shared/28f886030a0d016bcb00000083ecc375/vendor/vendor.dovecot/pvt/server/vendor/deltachat/maxsmtprecipients';
    const limit = () => talk(paths.dictSocket, `H4\t0\t0\t\tmetadata\nL${key}\t${alice}\n`, /\n/);
    expect(await limit()).toBe('O7\n');
    await writeConfig({ mail: { maxRecipients: 'many' } });
    await expect(relay.reload()).rejects.toThrow(ConfigError);
    expect(await limit()).toBe('O7\n');
  });

  test('leaves no socket and a whole database behind', async () => {
    expect(existsSync(paths.milterSocket) && existsSync(paths.quotaSocket)).toBe(true);
    const open = connect(paths.saslSocket);
    await once(open, 'data');
    await relay[Symbol.asyncDispose]();
    for (const path of [paths.milterSocket, paths.saslSocket, paths.authSocket, paths.dictSocket]) {
      expect(existsSync(path)).toBe(false);
    }
    expect(existsSync(paths.quotaSocket)).toBe(false);
    expect(await readdir(join(directory, 'data'))).toEqual(['accounts.sqlite']);
    open.destroy();
  });

  test('does not start on a wrong configuration, nor hold on to anything', async () => {
    await relay[Symbol.asyncDispose]();
    await writeConfig({ domain: 'nonsense' });
    await expect(startRelay({ paths, gatewayUrl: 'http://127.0.0.1:1/', log: silentLog })).rejects.toThrow(
      ConfigError,
    );
    expect(await readdir(join(directory, 'data'))).toEqual(['accounts.sqlite']);
  });
});
