/**
 * Mail between this relay and a stranger's server: over HTTPS, over SMTP where the stranger knows nothing of
 * HTTPS, and later when neither answers. The real root filesystem and service table, in namespaces; the
 * stranger has an address literal, so that no DNS is needed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ImapClient, SmtpClient, startTls } from '../oracles/mail-client.ts';
import type { Received } from '../fakes/mail-server.ts';
import { builtRoot } from './built-image.ts';
import { encrypted } from './messages.ts';
import { prepareAccounts } from './prepare-accounts.ts';
import { clientAddress, RelayNamespace, waitUntil } from './relay-namespace.ts';

const domain = 'chat.test.example';
const password = 'correct-horse-battery';
const alice = `alice0001@${domain}`;
const bob = `bob@[${clientAddress}]`;
let dataDirectory: string;
let relay: RelayNamespace;
let stranger: Stranger;

beforeAll(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'transport-'));
  await prepareAccounts(dataDirectory, [alice], password);
  relay = await RelayNamespace.start({
    rootImage: (await builtRoot()).path,
    config: { domain },
    dataDirectory,
  });
  stranger = await Stranger.start(relay);
});
afterAll(async () => {
  await stranger?.stop();
  await relay?.[Symbol.asyncDispose]();
  await rm(dataDirectory, { recursive: true, force: true });
});

class Stranger {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error('No stdout');
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  static async start({ clientNetns }: RelayNamespace): Promise<Stranger> {
    const script = join(import.meta.dirname, 'stranger-server.ts');
    const child = spawn('ip', ['netns', 'exec', clientNetns, process.execPath, script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const stranger = new Stranger(child);
    expect(await stranger.#next()).toBe('ready');
    return stranger;
  }

  async #next(): Promise<unknown> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('The stranger ended');
    return JSON.parse(value);
  }

  async become(what: 'relay' | 'plain'): Promise<void> {
    this.#child.stdin?.write(`${what}\n`);
    expect(await this.#next()).toBe('changed');
  }

  async received(): Promise<Received> {
    return (await this.#next()) as Received;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

/** Alice hands a message in, which Postfix takes at once, wherever it goes. */
async function send(subject: string): Promise<void> {
  using smtp = new SmtpClient(await startTls(await relay.connect(465), domain));
  await smtp.reply();
  await smtp.command('EHLO client.example');
  expect(await smtp.login(alice, password)).toMatchObject({ code: 235 });
  expect(await smtp.send(alice, [bob], encrypted(alice, subject))).toMatchObject({ code: 250 });
}

async function postfixLog(pattern: RegExp, timeoutMs: number): Promise<void> {
  await waitUntil(
    async () => pattern.test(await relay.logs()),
    timeoutMs,
    () => `${pattern} in the log`,
  );
}

/** What the stranger's own server would do. */
async function post(
  headers: Record<string, string>,
  body: string,
): Promise<{ status: number; text: string }> {
  const socket = await startTls(await relay.connect(443), domain);
  const outgoing = request({
    method: 'POST',
    path: '/mxdeliv',
    headers: { host: domain, ...headers },
    createConnection: () => socket,
  });
  outgoing.end(body);
  const [response] = (await once(outgoing, 'response')) as [{ statusCode: number } & AsyncIterable<Buffer>];
  let text = '';
  for await (const chunk of response) text += chunk.toString();
  return { status: response.statusCode, text: text.trim() };
}

describe('mail to a stranger', () => {
  test('goes over HTTPS, and is whole', async () => {
    await send('one');
    const { way, sender, recipients, text } = await stranger.received();
    expect({ way, sender, recipients }).toEqual({ way: 'HTTPS', sender: alice, recipients: [bob] });
    expect(text).toContain('-----BEGIN PGP MESSAGE-----');
    expect(text).toMatch(/^DKIM-Signature: .*d=chat\.test\.example/ms);
    expect(text).not.toMatch(/^Received:/m);
  });

  test('goes over SMTP where HTTPS has nothing to say', async () => {
    await stranger.become('plain');
    await send('two');
    expect(await stranger.received()).toMatchObject({ way: 'SMTP', sender: alice, recipients: [bob] });
    await stranger.become('relay');
  });

  test('waits while nobody answers, outlives the relay process, and then arrives', async () => {
    await stranger.stop();
    await send('three');
    await postfixLog(/postfix\/lmtp.*to=<…@\[10\.99\.0\.2\]>.*status=deferred/, 60_000);
    const before = await relay.pidOf(/relay\.js/);
    process.kill(before, 'SIGKILL');
    await waitUntil(
      async () =>
        (await relay.processes()).some(({ pid, command }) => /relay\.js/.test(command) && pid !== before),
      30_000,
      () => 'a new relay process',
    );
    stranger = await Stranger.start(relay);
    // Postfix tries again after one to two minutes (minimal_backoff_time, queue_run_delay).
    expect(await stranger.received()).toMatchObject({ way: 'HTTPS', recipients: [bob] });
  });
});

describe('mail from a stranger', () => {
  test('comes over HTTPS into the mailbox, under the rules of port 25', async () => {
    const envelope = { 'x-mail-from': bob, 'x-mail-to': alice };
    const body = encrypted(bob, 'Hello from afar');
    expect(await post(envelope, body)).toEqual({
      status: 200,
      text: expect.stringMatching(/^250 2\.0\.0 Ok: queued as /),
    });
    using imap = new ImapClient(await startTls(await relay.connect(993), domain));
    await imap.greeting();
    expect(await imap.login(alice, password)).toMatchObject({ status: 'OK' });
    await waitUntil(
      async () => /\* [1-9]\d* EXISTS/.test((await imap.command('SELECT INBOX')).untagged),
      20_000,
      () => 'the message',
    );
    expect((await imap.command('FETCH 1 BODY.PEEK[]')).untagged).toContain('Hello from afar');

    expect(await post(envelope, `From: <${bob}>\r\nSubject: x\r\n\r\nIn the clear\r\n`)).toMatchObject({
      status: 400,
      text: expect.stringMatching(/^523 /),
    });
    const named = { ...envelope, 'x-mail-from': 'mallory@other.example' };
    expect(await post(named, encrypted('mallory@other.example'))).toMatchObject({
      status: 400,
      text: expect.stringMatching(/^554 5\.7\.1 No DKIM signature found/),
    });
    expect(await post({ ...envelope, 'x-mail-to': 'x@elsewhere.example' }, body)).toMatchObject({
      status: 400,
      text: expect.stringMatching(/^554 5\.7\.1 .*Relay access denied/),
    });
  });
});
