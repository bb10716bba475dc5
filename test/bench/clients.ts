/** People for benches: they sign in, wait for mail, send it and fetch it, each over TLS as a client would. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeHeaders } from '../../appliance/filter/message.ts';
import { armor, encryptedMessage, newPacket } from '../fixtures/filter/messages.ts';
import { ImapClient, SmtpClient, startTls } from '../oracles/mail-client.ts';
import type { RelayNamespace } from '../vm/relay-namespace.ts';

export const domain = 'chat.example.org';
export const password = 'correct-horse-battery';
/** Sign-ins at a time: each makes an account, and the password's hash wants 19 MB and a processor. */
const parallel = 4;

interface Progress {
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

/** Opens connections, each of an account of its own, and leaves them in IDLE. */
export async function signInAll(
  relay: RelayNamespace,
  clients: ImapClient[],
  count: number,
  { signal, note }: Progress,
): Promise<void> {
  let next = 0;
  const connectSome = async () => {
    while (next < count) {
      const address = `u${String(next++).padStart(8, '0')}@${domain}`;
      clients.push(await waitingInbox(relay, address, signal));
      if (clients.length % 100 === 0) note(`${clients.length} clients`);
    }
  };
  await Promise.all(Array.from({ length: parallel }, connectSome));
}

/** Signs in, which makes the account; a machine under load refuses new ones for a while. */
export async function waitingInbox(
  relay: RelayNamespace,
  address: string,
  signal: AbortSignal,
): Promise<ImapClient> {
  for (let attempt = 1; ; attempt++) {
    const client = new ImapClient(await startTls(await relay.connect(993), domain));
    await client.greeting();
    const { status, text } = await client.login(address, password);
    if (status === 'OK') {
      await client.command('SELECT INBOX');
      await idleIn(client);
      return client;
    }
    client[Symbol.dispose]();
    if (attempt === 20) throw new Error(`${address} cannot sign in: ${text}`);
    await sleep(3000, undefined, { signal });
  }
}

async function idleIn(client: ImapClient): Promise<void> {
  client.write('idle IDLE\r\n');
  await client.read(/\+ [^\n]*\n/);
}

export async function senderSession(relay: RelayNamespace, address: string): Promise<SmtpClient> {
  const client = new SmtpClient(await startTls(await relay.connect(465), domain));
  await client.reply();
  await client.command('EHLO client.example');
  const { code, text } = await client.login(address, password);
  if (code !== 235) throw new Error(`The sender cannot sign in: ${text}`);
  return client;
}

/** A session key packet, and as much encrypted data as makes the armored body its size in base64. */
export function chatMessage(from: string, bodyBytes: number): string {
  const data = Buffer.concat([Buffer.from([1]), randomBytes(Math.floor((bodyBytes * 3) / 4))]);
  const { headers, body } = encryptedMessage({
    from,
    armor: armor(Buffer.concat([newPacket(1, randomBytes(94), 1), newPacket(18, data)])),
  });
  return Buffer.concat([encodeHeaders(headers), body])
    .toString('latin1')
    .replace(/\r\n$/, '');
}

export async function send(smtp: SmtpClient, from: string, to: string, text: string): Promise<void> {
  const reply = await smtp.send(from, [to], text);
  if (reply.code !== 250) throw new Error(`A message was refused: ${reply.text}`);
}

/** Waits in IDLE until the mailbox has `count` messages, leaves it, fetches the newest and waits again. */
export async function fetchNewest(inbox: ImapClient, count: number): Promise<void> {
  await inbox.read(new RegExp(`\\* ${count} EXISTS\\r?\\n`));
  inbox.write('DONE\r\n');
  await inbox.read(/^idle OK[^\n]*\n/m);
  await inbox.command(`FETCH ${count} (BODY.PEEK[])`);
  await idleIn(inbox);
}
