/**
 * Entry point of the short-lived program that speaks ACME. It exists because acme-client costs 40 MB that
 * a process never gives back: this one ends with the order. It keeps nothing and opens no port; who started
 * it meets the challenges and keeps the result (appliance/acme/order-process.ts).
 */
import process from 'node:process';
import type { PendingChallenge } from './acme/challenges.ts';
import { orderCertificate } from './acme/order.ts';
import { type FromProgram, type OrderRequest, readToProgram } from './acme/order-protocol.ts';

const stop = new AbortController();
const waiting = new Map<number, (error: string | undefined) => void>();
let lastId = 0;

function say(message: FromProgram): void {
  process.send?.(message);
}

function ask(kind: 'present' | 'remove', challenge: PendingChallenge): Promise<void> {
  const id = ++lastId;
  return new Promise((resolve, reject) => {
    waiting.set(id, (error) => {
      waiting.delete(id);
      if (error === undefined) resolve();
      else reject(new Error(error));
    });
    say({ kind, id, challenge });
  });
}

async function run(request: OrderRequest): Promise<void> {
  const outcome = await orderCertificate(request, {
    present: (challenge) => ask('present', challenge),
    remove: (challenge) => ask('remove', challenge),
    account: (url) => say({ kind: 'account', url }),
    signal: stop.signal,
  });
  // The channel keeps the process alive until the message is through.
  process.send?.(outcome, () => process.disconnect());
}

if (process.send === undefined) {
  process.stderr.write('This program is started by the edge process when a certificate is due\n');
  process.exit(2);
}
// Whoever started it is gone: so is the reason for the order.
process.once('disconnect', () => {
  stop.abort();
  process.exit(0);
});
process.on('message', (message) => {
  const heard = readToProgram(message);
  if (heard.kind === 'done') waiting.get(heard.id)?.(heard.error);
  else
    run(heard).catch((error: unknown) => {
      process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
      process.exit(1);
    });
});
