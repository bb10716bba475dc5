/**
 * What the keeper remembers across restarts, on DATA: the account, and how things went so far. Losing it
 * costs a new account and an early renewal, so what cannot be read counts as not there.
 */
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import * as v from 'valibot';
import { readTextIfPresent, writeFileAtomic } from '../base/atomic-file.ts';

const challengeType = v.picklist(['http-01', 'tls-alpn-01', 'dns-01']);

const historySchema = v.object({
  /** What the failures are about: authority and domain. Other ones start afresh. */
  subject: v.string(),
  /** In a row, each with a pause after it. */
  failures: v.pipe(v.number(), v.integer(), v.minValue(0)),
  lastFailure: v.optional(v.object({ atMs: v.number(), message: v.string(), fix: v.string() })),
  /** Nothing is ordered or installed before. */
  notBeforeMs: v.optional(v.number()),
  /** How each name was proven the last time. */
  proven: v.record(v.string(), challengeType),
  /** Names the authority did not find here: not tried again before. */
  leftOutUntilMs: v.record(v.string(), v.number()),
  /** The certificate in use, and the authority it was ordered from. */
  issued: v.optional(v.object({ fingerprint: v.string(), directory: v.string() })),
  /** What the authority said about the certificate of that fingerprint. */
  renewal: v.optional(
    v.object({
      fingerprint: v.string(),
      startMs: v.number(),
      endMs: v.number(),
      /** The moment within the window that was drawn by lot (RFC 9773 §4.2). */
      selectedMs: v.number(),
      explanationUrl: v.optional(v.string()),
    }),
  ),
  /** The next order is for a key that was never used. */
  newKey: v.boolean(),
});
export type History = v.InferOutput<typeof historySchema>;

const accountSchema = v.object({
  /** An account is of one authority: its directory's URL. */
  directory: v.string(),
  keyPem: v.string(),
  url: v.optional(v.string()),
  contact: v.string(),
});
export type Account = v.InferOutput<typeof accountSchema>;

export function emptyHistory(subject: string): History {
  return { subject, failures: 0, proven: {}, leftOutUntilMs: {}, newKey: false };
}

async function readJson<Schema extends v.GenericSchema>(
  path: string,
  schema: Schema,
): Promise<v.InferOutput<Schema> | undefined> {
  const text = await readTextIfPresent(path);
  if (text === undefined) return undefined;
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
  return result.success ? result.output : undefined;
}

async function writeJson(path: string, value: object): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(value, undefined, 2)}\n`, { mode: 0o600 });
}

const historyPath = (directory: string) => join(directory, 'history.json');
const accountPath = (directory: string) => join(directory, 'account.json');

/** @param directory paths.acme */
export async function readHistory(directory: string, subject: string): Promise<History> {
  const found = await readJson(historyPath(directory), historySchema);
  if (found === undefined) return emptyHistory(subject);
  if (found.subject === subject) return found;
  const { issued } = found;
  return { ...emptyHistory(subject), ...(issued === undefined ? {} : { issued }) };
}

export async function writeHistory(directory: string, history: History): Promise<void> {
  await writeJson(historyPath(directory), history);
}

/** The account with an authority; undefined when there is none yet. */
export async function readAccount(directory: string, directoryUrl: string): Promise<Account | undefined> {
  const account = await readJson(accountPath(directory), accountSchema);
  return account?.directory === directoryUrl ? account : undefined;
}

/** The account to order with: the one there is, or a new key on DATA before the authority hears of it. */
export async function ensureAccount(
  directory: string,
  directoryUrl: string,
  contact: string,
): Promise<Account> {
  const account = await readAccount(directory, directoryUrl);
  if (account !== undefined) return account;
  const made = { directory: directoryUrl, keyPem: makeKey(), contact };
  await writeJson(accountPath(directory), made);
  return made;
}

export async function writeAccount(directory: string, account: Account): Promise<void> {
  await writeJson(accountPath(directory), account);
}

/** ECDSA P-256: small signatures, taken by every authority and every client since 2014. */
export function makeKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}
