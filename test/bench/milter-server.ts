/**
 * `node milter-server.ts SOCKET MODE KEYFILE`: the milter server and the filter as relay.ts wires them, in a
 * process of their own as on the device. `pass` takes everything unseen, which is the protocol alone.
 */
import { createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import process from 'node:process';
import { ByteBudget } from '../../appliance/base/byte-budget.ts';
import { systemClock } from '../../appliance/base/clock.ts';
import { createLog } from '../../appliance/base/log.ts';
import { parseConfig } from '../../appliance/contract/config.ts';
import { createMailFilter } from '../../appliance/filter/message-filter.ts';
import { startMilterServer } from '../../appliance/milter/server.ts';
import type { MilterHandler } from '../../appliance/milter/session.ts';

const [path = '', mode = '', keyFile = ''] = process.argv.slice(2);
const log = createLog('bench', (line) => process.stderr.write(`${line}\n`));
const dkimKey = await readFile(keyFile, 'utf8');
const config = parseConfig({
  domain: 'chat.example.org',
  // What one sender may do, which here is thousands of senders.
  mail: { messagesPerMinute: 10_000, messageBurst: 10_000 },
});
const publicKey = createPublicKey(dkimKey).export({ type: 'spki', format: 'der' }).toString('base64');
const passAll: MilterHandler = {
  recipient: () => null,
  message: () => Promise.resolve({ kind: 'accept', edits: [] }),
};
const filter = createMailFilter({
  config,
  dkimKey,
  // The lookup is no work of the filter's; here it is answered at once.
  resolveTxt: () => Promise.resolve([[`v=DKIM1;k=rsa;p=${publicKey}`]]),
  clock: systemClock,
  log,
});
const stop = new AbortController();
await startMilterServer({
  path,
  handler: mode === 'pass' ? passAll : filter,
  log,
  signal: stop.signal,
  budget: new ByteBudget(256 * 1024 * 1024),
  maxMessageBytes: config.mail.maxMessageBytes,
  maxRecipients: config.mail.maxRecipients,
});
process.stdout.write('listening\n');
process.once('SIGTERM', () => stop.abort());
