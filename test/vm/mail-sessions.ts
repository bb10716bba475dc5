/** A person's connections to a relay in a namespace, and mail from one to another. */
import { ImapClient, SmtpClient, startTls } from '../oracles/mail-client.ts';
import { encrypted } from './messages.ts';
import { type RelayNamespace, waitUntil } from './relay-namespace.ts';

export const password = 'correct-horse-battery';

/** @throws Error when the relay does not let them in */
export async function imapSession(
  relay: RelayNamespace,
  address: string,
  secret = password,
): Promise<ImapClient> {
  const client = new ImapClient(await startTls(await relay.connect(993), 'chat.test.example'));
  await client.greeting();
  const reply = await client.login(address, secret);
  if (reply.status === 'OK') return client;
  client[Symbol.dispose]();
  throw new Error(`No session for ${address}: ${reply.text}`);
}

/** @throws Error when the relay does not let them in */
export async function submissionSession(relay: RelayNamespace, address: string): Promise<SmtpClient> {
  const client = new SmtpClient(await startTls(await relay.connect(465), 'chat.test.example'));
  await client.reply();
  await client.command('EHLO client.example');
  const reply = await client.login(address, password);
  if (reply.code === 235) return client;
  client[Symbol.dispose]();
  throw new Error(`No session for ${address}: ${reply.text}`);
}

/** Number of messages in the inbox. */
export async function countMessages(relay: RelayNamespace, address: string): Promise<number> {
  using client = await imapSession(relay, address);
  const { untagged } = await client.command('EXAMINE INBOX');
  return Number(/\* (\d+) EXISTS/.exec(untagged)?.[1]);
}

/** Submits one message. @throws Error when it is refused */
export async function submit(relay: RelayNamespace, from: string, to: string): Promise<void> {
  using smtp = await submissionSession(relay, from);
  const reply = await smtp.send(from, [to], encrypted(from));
  if (reply.code !== 250) throw new Error(`Refused: ${reply.text}`);
}

/** Sends a message from one to the other and waits until it lies in the inbox. */
export async function exchange(relay: RelayNamespace, from: string, to: string): Promise<void> {
  const before = await countMessages(relay, to);
  await submit(relay, from, to);
  using inbox = await imapSession(relay, to);
  await waitUntil(
    async () => {
      const { untagged } = await inbox.command('EXAMINE INBOX');
      return Number(/\* (\d+) EXISTS/.exec(untagged)?.[1]) > before;
    },
    20_000,
    () => `mail from ${from} to ${to}`,
  );
}
