/**
 * How long a message takes from one Delta Chat to another over one relay: two real cores in a namespace,
 * verified to each other, taking turns. And the relay's own share of it, seen by plain SMTP and IMAP.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeHeaders } from '../../appliance/filter/message.ts';
import { encryptedMessage } from '../fixtures/filter/messages.ts';
import { DeltaChat } from '../oracles/delta-chat.ts';
import { ImapClient, SmtpClient, startTls } from '../oracles/mail-client.ts';
import { builtRoot } from '../vm/built-image.ts';
import { relayAddress, RelayNamespace } from '../vm/relay-namespace.ts';
import { type Bench, format, median, quantile } from './bench.ts';

const domain = 'chat.example.org';
const password = 'correct-horse-battery';
const messageCount = 30;
/** Core slows down by itself when it sends more often. */
const pauseMs = 1250;

export const latencyBench: Bench = {
  name: 'latency',
  title: `from one Delta Chat to another, ${messageCount} messages`,
  needs: { root: true, tools: { iproute2: 'ip' } },
  async run({ signal, note }) {
    const rootImage = (await builtRoot()).path;
    await using relay = await RelayNamespace.start({ rootImage, config: { domain } });
    note('relay started');
    const chatMs = await betweenChats(relay, signal);
    note(`between chats: ${format(median(chatMs))} ms`);
    const relayMs = await throughRelay(relay, signal);
    note(`through the relay: ${format(median(relayMs))} ms`);
    const p50 = quantile(chatMs, 0.5);
    return {
      rows: [
        {
          what: 'sent to received, p50',
          ours: p50,
          unit: 'ms',
          goal: { text: '≤ 100 ms', met: p50 <= 100 },
        },
        { what: 'sent to received, p95', ours: quantile(chatMs, 0.95), unit: 'ms' },
        { what: 'end of DATA to EXISTS, p50', ours: quantile(relayMs, 0.5), unit: 'ms' },
        { what: 'end of DATA to EXISTS, p95', ours: quantile(relayMs, 0.95), unit: 'ms' },
      ],
      remarks: [
        `One message every ${pauseMs} ms, both cores and the relay on the same processors;`,
        'the first two rows are from the call that sends to the event that tells, encryption included,',
        'the last two without Delta Chat: from the end of an SMTP transaction to the notice in a waiting IDLE.',
      ],
    };
  },
};

async function betweenChats(relay: RelayNamespace, signal: AbortSignal): Promise<number[]> {
  await using alice = await signedIn(relay, 'alice0001');
  await using bob = await signedIn(relay, 'bob000001');
  const bobsInvite = await bob.inviteCode();
  const [toBob, toAlice] = await Promise.all([alice.join(bobsInvite), bob.waitForJoiner()]);
  await sleep(3 * pauseMs, undefined, { signal });
  const latenciesMs: number[] = [];
  for (let count = 0; count < messageCount; count++) {
    const [from, chat, to] = count % 2 === 0 ? [alice, toBob, bob] : [bob, toAlice, alice];
    const text = `Message number ${count}`;
    const sent = performance.now();
    const received = to.receive(text);
    await Promise.all([from.sendText(chat, text), received]);
    latenciesMs.push(performance.now() - sent);
    await sleep(pauseMs, undefined, { signal });
  }
  return latenciesMs;
}

async function signedIn(relay: RelayNamespace, localpart: string): Promise<DeltaChat> {
  const chat = await DeltaChat.start({ netns: relay.clientNetns });
  try {
    await chat.configure({
      address: `${localpart}@${domain}`,
      password,
      imap: { host: relayAddress, port: 993, security: 'ssl' },
      smtp: { host: relayAddress, port: 465, security: 'ssl' },
      acceptInvalidCertificates: true,
    });
    return chat;
  } catch (error) {
    await chat[Symbol.asyncDispose]();
    throw error;
  }
}

async function throughRelay(relay: RelayNamespace, signal: AbortSignal): Promise<number[]> {
  const [from, to] = [`carol0001@${domain}`, `dave00001@${domain}`];
  using inbox = new ImapClient(await startTls(await relay.connect(993), domain));
  await inbox.greeting();
  await inbox.login(to, password);
  await inbox.command('SELECT INBOX');
  inbox.write('idle IDLE\r\n');
  await inbox.read(/\+ [^\n]*\n/);
  using smtp = new SmtpClient(await startTls(await relay.connect(465), domain));
  await smtp.reply();
  await smtp.command('EHLO client.example');
  await smtp.login(from, password);
  const { headers, body } = encryptedMessage({ from });
  const text = Buffer.concat([encodeHeaders(headers), body])
    .toString('latin1')
    .replace(/\r\n$/, '');
  const latenciesMs: number[] = [];
  for (let count = 1; count <= messageCount; count++) {
    await sleep(pauseMs, undefined, { signal });
    for (const line of [`MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, 'DATA']) await smtp.command(line);
    smtp.write(`${text}\r\n`);
    const ended = performance.now();
    smtp.write('.\r\n');
    await Promise.all([smtp.reply(), inbox.read(new RegExp(`\\* ${count} EXISTS\\r?\\n`))]);
    latenciesMs.push(performance.now() - ended);
  }
  return latenciesMs;
}
