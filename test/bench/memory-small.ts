/**
 * The relay with as much memory as a Raspberry Pi Zero 2 W leaves it: many clients, then messages, a large
 * one among them, and the pages of its web server. The real root and service table in namespaces, held below
 * a limit that counts page cache, tmpfs and the kernel's memory for it too.
 */
import { access, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ImapClient, startTls } from '../oracles/mail-client.ts';
import { builtRoot } from '../vm/built-image.ts';
import { memoryController, type MemoryUse, RelayNamespace } from '../vm/relay-namespace.ts';
import { type Bench, format } from './bench.ts';
import {
  chatMessage,
  domain,
  fetchNewest,
  password,
  send,
  senderSession,
  signInAll,
  waitingInbox,
} from './clients.ts';
import { perProcess, totalOf, usageOf, waitForHibernation } from './memory-usage.ts';

/** MemTotal of the board's 512 MB: without the firmware's share and the kernel itself. */
const totalBytes = 430_000_000;
/** Without what the kernel takes for drivers and modules besides. */
const limitBytes = 400_000_000;
const clientCount = 200;
const settleMs = 15_000;
const messageCount = 50;
const messageBytes = 10_000;
const largeMessageBytes = 20_000_000;
const pages = ['/', '/info', '/privacy', '/new', '/.well-known/autoconfig/mail/config-v1.1.xml'];
const [sender, reader] = [`alice0001@${domain}`, `bob000001@${domain}`];

export const smallMemoryBench: Bench = {
  name: 'memory-small',
  title: `a relay that gets ${limitBytes / 1e6} MB, with ${clientCount} clients waiting in IDLE`,
  needs: { root: true, tools: { iproute2: 'ip' } },
  async run({ directory, signal, note }) {
    // Where there is only version 2, fail before the image is built.
    await access(memoryController);
    // A file of its own: what another relay on this host has mounted, the kernel shares with it.
    const rootImage = join(directory, 'root.squashfs');
    await copyFile((await builtRoot()).path, rootImage);
    await using relay = await RelayNamespace.start({
      rootImage,
      config: { domain, mail: { messagesPerMinute: 10_000 } },
      memory: { totalBytes, limitBytes },
      // Next to nothing is cached when it starts.
      readyTimeoutMs: 180_000,
    });
    note('started; waiting for it to come to rest');
    await sleep(settleMs, undefined, { signal });
    const idle = await usageOf(relay);
    const uses = [useLine('idle', await relay.memoryUse())];
    const clients: ImapClient[] = [];
    try {
      await signInAll(relay, clients, clientCount, { signal, note });
      await waitForHibernation(relay);
      await sleep(settleMs, undefined, { signal });
      const busy = await usageOf(relay);
      uses.push(useLine(`${clientCount} clients`, await relay.memoryUse()));
      note('sending messages');
      await exchangeMessages(relay, signal);
      uses.push(useLine('messages', await relay.memoryUse()));
      note('sending a large message');
      await exchangeLargeMessage(relay, signal);
      for (const page of pages) await loadPage(relay, page);
      const last = await relay.memoryUse();
      uses.push(useLine('a large message, web pages', last));
      const [idleBytes, busyBytes] = [totalOf(idle), totalOf(busy)];
      return {
        rows: [
          {
            what: 'idle, all processes',
            ours: idleBytes / 1e6,
            unit: 'MB',
            goal: { text: '≤ 200 MB', met: idleBytes <= 200e6 },
          },
          { what: `with ${clientCount} clients`, ours: busyBytes / 1e6, unit: 'MB' },
          {
            what: 'killed for want of memory',
            ours: last.kills,
            unit: 'processes',
            goal: { text: 'none', met: last.kills === 0 },
          },
        ],
        tables: [
          perProcess(idle, busy, clientCount),
          {
            head: ['after', "the kernel's for the relay", 'in tmpfs', 'pages read again', 'killed'],
            lines: uses,
          },
        ],
        remarks: [
          `/proc/meminfo says ${totalBytes / 1e6} MB. ${messageCount} messages of ${messageBytes / 1e3} kB and one`,
          `of ${largeMessageBytes / 1e6} MB, each fetched by its reader; then ${pages.length} web pages.`,
        ],
      };
    } finally {
      for (const client of clients) client[Symbol.dispose]();
    }
  },
};

async function exchangeMessages(relay: RelayNamespace, signal: AbortSignal): Promise<void> {
  (await waitingInbox(relay, sender, signal))[Symbol.dispose]();
  using inbox = await waitingInbox(relay, reader, signal);
  using smtp = await senderSession(relay, sender);
  for (let count = 1; count <= messageCount; count++) {
    signal.throwIfAborted();
    await send(smtp, sender, reader, chatMessage(sender, messageBytes));
    await fetchNewest(inbox, count);
  }
}

async function exchangeLargeMessage(relay: RelayNamespace, signal: AbortSignal): Promise<void> {
  using inbox = await waitingInbox(relay, reader, signal);
  using smtp = await senderSession(relay, sender);
  await send(smtp, sender, reader, chatMessage(sender, largeMessageBytes));
  await inbox.read(new RegExp(`\\* ${messageCount + 1} EXISTS\\r?\\n`));
  // On a connection of its own: the dialogue's patterns would look through all of it at each packet.
  const stream = await startTls(await relay.connect(993), domain);
  stream.write(`a LOGIN "${reader}" "${password}"\r\nb SELECT INBOX\r\n`);
  stream.write(`c FETCH ${messageCount + 1} (BODY.PEEK[])\r\nd LOGOUT\r\n`);
  let receivedBytes = 0;
  for await (const chunk of stream.iterator({ destroyOnReturn: true })) {
    signal.throwIfAborted();
    if (chunk instanceof Uint8Array) receivedBytes += chunk.length;
  }
  if (receivedBytes < largeMessageBytes) throw new Error(`Only ${receivedBytes} bytes of it came back`);
}

async function loadPage(relay: RelayNamespace, path: string): Promise<void> {
  const stream = await startTls(await relay.connect(443), domain);
  stream.write(`GET ${path} HTTP/1.1\r\nHost: ${domain}\r\nConnection: close\r\n\r\n`);
  const chunks: string[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: true })) chunks.push(String(chunk));
  const [status] = chunks.join('').split('\r\n', 1);
  if (!/^HTTP\/1\.1 [23]/.test(status ?? '')) throw new Error(`${path}: ${status}`);
}

function useLine(after: string, use: MemoryUse): string[] {
  const megabytes = (bytes: number) => `${format(bytes / 1e6)} MB`;
  return [
    after,
    megabytes(use.kernelBytes),
    megabytes(use.tmpfsBytes),
    String(use.refaults),
    String(use.kills),
  ];
}
