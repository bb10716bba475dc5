/**
 * The accounts database's schema, as steps numbered by `PRAGMA user_version`.
 *
 * An update may be rolled back to a program that is one version older, with the same DATA. So a step only
 * ever adds: tables, indexes, columns that are nullable or have a default. An older program may then open
 * a newer file, and a step once released is never edited.
 */
import type { DatabaseSync } from 'node:sqlite';

/** Days are counted from 1970-01-01 UTC: coarse, so that a sign-in writes at most once a day. */
const steps: readonly string[] = [
  `CREATE TABLE accounts (
     address TEXT PRIMARY KEY,
     password_hash TEXT NOT NULL,
     created_day INTEGER NOT NULL,
     last_login_day INTEGER NOT NULL,
     disabled INTEGER NOT NULL DEFAULT 0
   ) STRICT;
   CREATE INDEX accounts_by_last_login ON accounts (last_login_day);
   CREATE TABLE push_tokens (
     id INTEGER PRIMARY KEY,
     address TEXT NOT NULL REFERENCES accounts (address) ON DELETE CASCADE,
     token TEXT NOT NULL,
     day INTEGER NOT NULL,
     UNIQUE (address, token)
   ) STRICT;
   CREATE TABLE pending_pushes (
     token TEXT PRIMARY KEY,
     address TEXT NOT NULL,
     first_sec INTEGER NOT NULL,
     due_sec INTEGER NOT NULL,
     attempts INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX pending_pushes_by_due ON pending_pushes (due_sec);`,
  // By digest: who reads the database gets no token that can be used.
  `CREATE TABLE invite_token_uses (
     token_digest TEXT PRIMARY KEY,
     uses INTEGER NOT NULL
   ) STRICT;`,
];

export const schemaVersion = steps.length;

function readVersion(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
}

/** Brings `database` up to this schema; leaves a newer one as it is. Returns the version it now has. */
export function migrate(database: DatabaseSync): number {
  for (let version = readVersion(database); version < steps.length; version += 1) {
    database.exec(`BEGIN IMMEDIATE; ${steps[version]}; PRAGMA user_version = ${version + 1}; COMMIT`);
  }
  return readVersion(database);
}
