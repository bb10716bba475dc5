/**
 * What taking mail over HTTPS costs against taking it on port 25: the same messages, filter, queue and
 * mailboxes, from the same client in the same run. Measured to the reply that makes the relay answerable.
 */
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { encodeHeaders } from '../../appliance/filter/message.ts';
import { encryptedMessage } from '../fixtures/filter/messages.ts';
import { builtRoot } from '../vm/built-image.ts';
import { prepareAccounts } from '../vm/prepare-accounts.ts';
import { clientAddress, relayAddress, RelayNamespace, waitUntil } from '../vm/relay-namespace.ts';
import { type Bench, type BenchRow, format, median, quantile } from './bench.ts';
import type { DeliveryResult, DeliveryRun } from './mxdeliv-client.ts';

const domain = 'chat.example.org';
/** Of an address: whoever sends from there has no DNS, and so no signature to look up. */
const sender = `bob@[${clientAddress}]`;
const connections = 10;
const rounds = 3;
const mailboxCount = 10;

export const mxdelivBench: Bench = {
  name: 'mxdeliv',
  title: `mail from another relay over HTTPS, against port 25 (${connections} connections)`,
  needs: { root: true, tools: { iproute2: 'ip' } },
  async run({ directory, signal, note }) {
    const recipients = Array.from({ length: mailboxCount }, (_, index) => `reader00${index}@${domain}`);
    const dataDirectory = join(directory, 'data');
    await prepareAccounts(dataDirectory, recipients, 'correct-horse-battery');
    await using relay = await RelayNamespace.start({
      rootImage: (await builtRoot()).path,
      config: { domain },
      dataDirectory,
    });
    const { headers, body } = encryptedMessage({ from: sender });
    const message = Buffer.concat([encodeHeaders(headers), body]).toString('latin1');
    // What was taken is still on its way into the mailboxes, and must not weigh on what comes next.
    const delivered = () =>
      waitUntil(
        async () => {
          const queues = ['incoming', 'active'].map((name) => join(dataDirectory, 'postfix/queue', name));
          return (await Promise.all(queues.map((queue) => readdir(queue)))).flat().length === 0;
        },
        120_000,
        () => 'an empty queue',
      );
    const deliver = async (options: Pick<DeliveryRun, 'way' | 'keepsConnections' | 'messagesEach'>) => {
      const run: DeliveryRun = { ...options, host: relayAddress, sender, recipients, message, connections };
      const { stdout } = await promisify(execFile)(
        'ip',
        // prettier-ignore
        [
          'netns', 'exec', relay.clientNetns, process.execPath,
          join(import.meta.dirname, 'mxdeliv-client.ts'), JSON.stringify(run),
        ],
        { signal, maxBuffer: 10_000_000 },
      );
      await delivered();
      const result: DeliveryResult = JSON.parse(stdout);
      return result;
    };

    const rows: BenchRow[] = [];
    for (const keepsConnections of [true, false]) {
      const results = { https: [] as DeliveryResult[], smtp: [] as DeliveryResult[] };
      for (const way of ['https', 'smtp'] as const)
        await deliver({ way, keepsConnections, messagesEach: keepsConnections ? 10 : 1 });
      for (let round = 0; round < rounds; round++) {
        for (const way of ['https', 'smtp'] as const) {
          // The edge shakes 300 hands of one address at once, and 600 a minute.
          const messagesEach = keepsConnections ? 50 : 8;
          const result = await deliver({ way, keepsConnections, messagesEach });
          results[way].push(result);
          note(`${way}, ${keepsConnections ? 'kept' : 'new'} connections: ${format(result.perSecond)}/s`);
        }
      }
      const rate = (way: 'https' | 'smtp') => median(results[way].map(({ perSecond }) => perSecond));
      const latency = (way: 'https' | 'smtp', share: number) =>
        quantile(
          results[way].flatMap(({ latenciesMs }) => latenciesMs),
          share,
        );
      const what = keepsConnections ? 'connections kept' : 'one for each message';
      const common = { peerName: 'port 25' };
      rows.push(
        {
          ...common,
          what: `messages/s, ${what}`,
          ours: rate('https'),
          peer: rate('smtp'),
          unit: '/s',
          better: 'more',
        },
        ...[0.5, 0.99].map((share) => ({
          ...common,
          what: `p${share * 100}, ${what}`,
          ours: latency('https', share),
          peer: latency('smtp', share),
          unit: 'ms',
        })),
      );
    }
    return {
      rows,
      remarks: [
        `Messages of ${message.length} bytes to ${mailboxCount} mailboxes, median of ${rounds} rounds;`,
        'client, relay and its delivery into the mailboxes on the same processors.',
        'Port 25 is spoken with pipelining and TLS, as Postfix would.',
      ],
    };
  },
};
