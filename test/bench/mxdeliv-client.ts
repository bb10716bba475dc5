/**
 * Another relay that has much to deliver, in the clients' namespace: the same message over and over, by the
 * given way, over so many connections. One JSON object on stdout.
 */
import { Agent, request } from 'node:https';
import process from 'node:process';
import { SmtpConnection } from '../../appliance/smtp/client.ts';

export interface DeliveryRun {
  readonly way: 'https' | 'smtp';
  readonly host: string;
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly message: string;
  readonly connections: number;
  readonly messagesEach: number;
  /** Whether a connection is used again, or each message has one of its own. */
  readonly keepsConnections: boolean;
}

export interface DeliveryResult {
  readonly perSecond: number;
  readonly latenciesMs: readonly number[];
}

type Deliver = (recipient: string) => Promise<void>;

function overHttps({ host, sender, message, keepsConnections }: DeliveryRun): Deliver {
  const agent = new Agent({ keepAlive: keepsConnections, maxSockets: 1, rejectUnauthorized: false });
  return (recipient) =>
    new Promise((resolve, reject) => {
      const outgoing = request(
        {
          agent,
          host,
          method: 'POST',
          path: '/mxdeliv',
          headers: { 'x-mail-from': sender, 'x-mail-to': recipient, 'content-length': message.length },
        },
        (response) => {
          response.setEncoding('latin1');
          let text = '';
          response.on('data', (chunk: string) => {
            text += chunk;
          });
          response.on('end', () => {
            if (response.statusCode === 200) resolve();
            else reject(new Error(`${response.statusCode} ${text}`));
          });
        },
      );
      outgoing.on('error', reject);
      outgoing.end(message);
    });
}

function overSmtp({ host, sender, message, keepsConnections }: DeliveryRun): Deliver {
  let kept: SmtpConnection | undefined;
  const body = [Buffer.from(message)];
  return async (recipient) => {
    if (kept === undefined || !kept.isOpen) {
      kept = await SmtpConnection.connect({
        host,
        port: 25,
        localName: 'mx.example.net',
        signal: new AbortController().signal,
      });
      await kept.startTls({ rejectUnauthorized: false });
    }
    const [reply] = await kept.send({ sender, recipients: [recipient], body: () => body });
    if (reply?.code !== 250) throw new Error(`${reply?.code} ${reply?.lines.join(' ')}`);
    if (keepsConnections) return;
    kept.quit();
    kept = undefined;
  };
}

const run: DeliveryRun = JSON.parse(process.argv[2] ?? '');
const latenciesMs: number[] = [];
const started = performance.now();
await Promise.all(
  Array.from({ length: run.connections }, async (_, index) => {
    const deliver = run.way === 'https' ? overHttps(run) : overSmtp(run);
    const recipient = run.recipients[index % run.recipients.length] ?? '';
    for (let count = 0; count < run.messagesEach; count++) {
      const sent = performance.now();
      await deliver(recipient);
      latenciesMs.push(performance.now() - sent);
    }
  }),
);
const perSecond = (latenciesMs.length * 1000) / (performance.now() - started);
process.stdout.write(`${JSON.stringify({ perSecond, latenciesMs } satisfies DeliveryResult)}\n`, () =>
  process.exit(),
);
