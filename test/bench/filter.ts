/** Mail through the milter: our server and filter in this process, our client in a thread beside it. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { ByteBudget } from '../../appliance/base/byte-budget.ts';
import { systemClock } from '../../appliance/base/clock.ts';
import { silentLog } from '../../appliance/base/log.ts';
import { parseConfig } from '../../appliance/contract/config.ts';
import { createDkimSigner } from '../../appliance/filter/dkim-sign.ts';
import { createMailFilter } from '../../appliance/filter/message-filter.ts';
import { applyEdits, type MailMessage } from '../../appliance/filter/message.ts';
import { MilterClient } from '../../appliance/milter/client.ts';
import { startMilterServer } from '../../appliance/milter/server.ts';
import type { MilterHandler } from '../../appliance/milter/session.ts';
import { armor, encryptedMessage, newPacket } from '../fixtures/filter/messages.ts';
import { type Bench, type BenchRow, quantile } from './bench.ts';

interface Load {
  readonly path: string;
  readonly message: Omit<MailMessage, 'body'> & { readonly body: Uint8Array };
  readonly daemonName: string;
  readonly connections: number;
  readonly messagesEach: number;
}

interface Timing {
  readonly totalMs: number;
  readonly latenciesMs: readonly number[];
}

const alice = 'alice@chat.example.org';

export const filterBench: Bench = {
  name: 'filter',
  title: 'Messages of 3 KB through the milter, 10 connections',
  run: async ({ directory, signal }) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const dkimKey = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64');
    const filter = createMailFilter({
      config: parseConfig({
        domain: 'chat.example.org',
        mail: { messagesPerMinute: 10_000, messageBurst: 10_000 },
      }),
      dkimKey,
      resolveTxt: () => Promise.resolve([[`v=DKIM1;k=rsa;p=${publicKey}`]]),
      clock: systemClock,
      log: silentLog,
    });
    const passThrough: MilterHandler = {
      recipient: () => null,
      message: () => Promise.resolve({ kind: 'accept', edits: [] }),
    };
    const armored = armor(newPacket(18, Buffer.alloc(1400, 0x5a)));
    const outgoing = encryptedMessage({ armor: armored });
    const unsigned = encryptedMessage({ from: 'bob@other.example.net', armor: armored });
    const signer = createDkimSigner({
      key: dkimKey,
      selector: 's',
      domain: 'other.example.net',
      clock: systemClock,
    });
    const signature = await signer.sign(unsigned.headers, unsigned.body);
    const incoming = { ...unsigned, headers: applyEdits(unsigned.headers, [signature]) };

    const rows: BenchRow[] = [];
    const measure = async (
      what: string,
      handler: MilterHandler,
      message: MailMessage,
      daemonName: string,
    ) => {
      const path = join(directory, 'milter.sock');
      await using _ = await startMilterServer({
        path,
        handler,
        log: silentLog,
        signal,
        budget: new ByteBudget(256 * 1024 * 1024),
        maxMessageBytes: 31_457_280,
        maxRecipients: 1000,
      });
      const load: Load = { path, message, daemonName, connections: 10, messagesEach: 200 };
      await runLoad({ ...load, messagesEach: 20 });
      const { totalMs, latenciesMs } = await runLoad(load);
      rows.push(
        { what, ours: (latenciesMs.length * 1000) / totalMs, unit: 'messages/s' },
        { what: `${what}, 99 of 100 within`, ours: quantile(latenciesMs, 0.99), unit: 'ms' },
      );
    };
    await measure('passed through', passThrough, outgoing, 'ORIGINATING');
    await measure('outgoing: judged and signed', filter, outgoing, 'ORIGINATING');
    await measure('incoming: judged and verified', filter, incoming, 'smtpd');
    return rows;
  },
};

async function runLoad(load: Load): Promise<Timing> {
  const worker = new Worker(new URL(import.meta.url), { workerData: load });
  const [timing] = (await once(worker, 'message')) as [Timing];
  return timing;
}

async function sendAll(load: Load): Promise<Timing> {
  const latenciesMs: number[] = [];
  const { signal } = new AbortController();
  const message = { ...load.message, body: Buffer.from(load.message.body), macros: { auth_authen: alice } };
  const started = performance.now();
  const talk = async () => {
    using client = await MilterClient.connect(load.path, {
      signal,
      macros: { daemon_name: load.daemonName },
    });
    for (let count = 0; count < load.messagesEach; count++) {
      const sent = performance.now();
      const { result } = await client.send(message);
      if (result !== 'accept') throw new Error(`The filter said ${result}`);
      latenciesMs.push(performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: load.connections }, talk));
  return { totalMs: performance.now() - started, latenciesMs };
}

if (!isMainThread && parentPort !== null) parentPort.postMessage(await sendAll(workerData as Load));
