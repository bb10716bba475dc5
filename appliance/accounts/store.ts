/**
 * Accounts, push tokens and pending notifications in one SQLite file. Every call is synchronous and takes
 * microseconds, and none but `setDisabled` waits for the disk.
 *
 * Durability: WAL with synchronous=NORMAL. No commit calls fsync, which on an SD card would stop the whole
 * event loop for a tenth of a second; a power cut can lose what the kernel had not written back (about the
 * last 30 s) but never breaks the file. Push tokens and the day of the last sign-in mend themselves at the
 * next connection. A new account does not: somebody else could take the address, with mail in it. So
 * whoever creates one waits for `flush`, and what an administrator decides is forced to the disk.
 */
import { DatabaseSync } from 'node:sqlite';
import { pushTokenLifetimeDays } from '../contract/retention.ts';
import { createDiskFlush } from './disk-flush.ts';
import { migrate } from './schema.ts';

export interface Account {
  readonly address: string;
  /** PHC string. */
  readonly passwordHash: string;
  readonly createdDay: number;
  readonly lastLoginDay: number;
  readonly disabled: boolean;
}

/** A notification that could not be delivered yet. Times are seconds since 1970. */
export interface PendingPush {
  readonly address: string;
  readonly token: string;
  readonly firstSec: number;
  readonly dueSec: number;
  readonly attempts: number;
}

/** Devices of one person, with room for tokens that changed; the oldest gives way. */
export const maxTokensPerAccount = 32;

const secondsPerDay = 86_400;

export function dayOf(timeMs: number): number {
  return Math.floor(timeMs / 1000 / secondsPerDay);
}

export interface AccountStore {
  find(address: string): Account | null;
  /** Adds an account; false when the address is taken. */
  create(address: string, passwordHash: string, day: number): boolean;
  /**
   * Adds an account and counts a use of an invite token: both or neither, whatever happens in between.
   * @param token its digest, and how many accounts may be made with it
   */
  createWithToken(
    token: { readonly digest: string; readonly maxUses: number },
    address: string,
    passwordHash: string,
    day: number,
  ): 'created' | 'taken' | 'used-up';
  /** How many accounts were made with an invite token. */
  tokenUses(digest: string): number;
  /** Resolves when everything done so far would survive a power cut. */
  flush(): Promise<void>;
  /** Notes a sign-in; writes only when the day has changed. */
  noteLogin(account: Account, day: number): void;
  setPasswordHash(address: string, passwordHash: string): void;
  /** Waits for the disk. False when there is no such account. */
  setDisabled(address: string, disabled: boolean): boolean;
  /** Takes the account and all that hangs on it away; false when there was none. */
  remove(address: string): boolean;
  count(): number;
  /** The next `limit` addresses after `after` in order, for walking all of them without holding all of them. */
  addressesAfter(after: string, limit: number): string[];
  /** Accounts whose last sign-in was before `day`. */
  inactiveSince(day: number, limit: number): string[];

  /** Oldest first, without those that have outlived their time. */
  tokens(address: string, today: number): string[];
  /** Adds a token or renews it. Nothing happens where there is no such account. */
  addToken(address: string, token: string, today: number): void;
  removeToken(address: string, token: string): void;

  addPendingPush(push: PendingPush): void;
  pendingPushes(dueSec: number, limit: number): PendingPush[];
  nextPushSec(): number | null;
  removePendingPush(token: string): void;
  countPendingPushes(): number;

  close(): void;
}

type Row = Record<string, unknown>;

const toAccount = (row: Row): Account => ({
  address: String(row['address']),
  passwordHash: String(row['password_hash']),
  createdDay: Number(row['created_day']),
  lastLoginDay: Number(row['last_login_day']),
  disabled: Number(row['disabled']) !== 0,
});

const toPendingPush = (row: Row): PendingPush => ({
  address: String(row['address']),
  token: String(row['token']),
  firstSec: Number(row['first_sec']),
  dueSec: Number(row['due_sec']),
  attempts: Number(row['attempts']),
});

/** Opens (or makes) the database at `path`; `:memory:` for tests. */
export function openAccountStore(path: string): AccountStore {
  const database = new DatabaseSync(path, { enableForeignKeyConstraints: true });
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA busy_timeout = 1000;
    PRAGMA cache_size = -512;
    PRAGMA journal_size_limit = 1048576;
  `);
  migrate(database);
  const sql = (text: string) => database.prepare(text);
  const addresses = (rows: Row[]) => rows.map((row) => String(row['address']));

  const findAccount = sql('SELECT * FROM accounts WHERE address = ?');
  const insertAccount = sql(
    'INSERT INTO accounts (address, password_hash, created_day, last_login_day) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
  );
  const selectTokenUses = sql('SELECT uses FROM invite_token_uses WHERE token_digest = ?');
  const countTokenUse = sql(
    `INSERT INTO invite_token_uses (token_digest, uses) VALUES (?, 1)
     ON CONFLICT (token_digest) DO UPDATE SET uses = uses + 1`,
  );
  const updateLogin = sql('UPDATE accounts SET last_login_day = ? WHERE address = ?');
  const updateHash = sql('UPDATE accounts SET password_hash = ? WHERE address = ?');
  const updateDisabled = sql('UPDATE accounts SET disabled = ? WHERE address = ?');
  const deleteAccount = sql('DELETE FROM accounts WHERE address = ?');
  const countAccounts = sql('SELECT count(*) AS n FROM accounts');
  const pageOfAddresses = sql('SELECT address FROM accounts WHERE address > ? ORDER BY address LIMIT ?');
  const inactive = sql(
    'SELECT address FROM accounts WHERE last_login_day < ? ORDER BY last_login_day LIMIT ?',
  );

  const selectTokens = sql('SELECT token FROM push_tokens WHERE address = ? AND day > ? ORDER BY id');
  const upsertToken = sql(
    `INSERT INTO push_tokens (address, token, day)
     SELECT address, ?, ? FROM accounts WHERE address = ?
     ON CONFLICT (address, token) DO UPDATE SET day = excluded.day WHERE day <> excluded.day`,
  );
  const deleteStaleTokens = sql('DELETE FROM push_tokens WHERE address = ? AND day <= ?');
  const deleteExcessTokens = sql(
    `DELETE FROM push_tokens WHERE address = ? AND id NOT IN
       (SELECT id FROM push_tokens WHERE address = ? ORDER BY day DESC, id DESC LIMIT ?)`,
  );
  const deleteToken = sql('DELETE FROM push_tokens WHERE address = ? AND token = ?');

  const upsertPush = sql(
    `INSERT INTO pending_pushes (token, address, first_sec, due_sec, attempts) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (token) DO UPDATE SET due_sec = excluded.due_sec, attempts = excluded.attempts`,
  );
  const duePushes = sql('SELECT * FROM pending_pushes WHERE due_sec <= ? ORDER BY due_sec LIMIT ?');
  const firstDue = sql('SELECT min(due_sec) AS due FROM pending_pushes');
  const deletePush = sql('DELETE FROM pending_pushes WHERE token = ?');
  const deletePushesOf = sql('DELETE FROM pending_pushes WHERE address = ?');
  const countPushes = sql('SELECT count(*) AS n FROM pending_pushes');

  const tokenUses = (digest: string) => Number(selectTokenUses.get(digest)?.['uses'] ?? 0);

  return {
    // Commits are appended to the log; SQLite itself syncs it before it is folded into the file.
    flush: path === ':memory:' ? async () => {} : createDiskFlush(`${path}-wal`),
    find(address) {
      const row = findAccount.get(address);
      return row === undefined ? null : toAccount(row);
    },
    create: (address, passwordHash, day) => insertAccount.run(address, passwordHash, day, day).changes === 1,
    createWithToken({ digest, maxUses }, address, passwordHash, day) {
      database.exec('BEGIN IMMEDIATE');
      try {
        if (tokenUses(digest) >= maxUses) {
          database.exec('ROLLBACK');
          return 'used-up';
        }
        if (insertAccount.run(address, passwordHash, day, day).changes !== 1) {
          database.exec('ROLLBACK');
          return 'taken';
        }
        countTokenUse.run(digest);
        database.exec('COMMIT');
        return 'created';
      } catch (error) {
        // A full disk has rolled back already.
        if (database.isTransaction) database.exec('ROLLBACK');
        throw error;
      }
    },
    tokenUses,
    noteLogin(account, day) {
      if (account.lastLoginDay < day) updateLogin.run(day, account.address);
    },
    setPasswordHash: (address, passwordHash) => void updateHash.run(passwordHash, address),
    setDisabled(address, disabled) {
      const { changes } = updateDisabled.run(disabled ? 1 : 0, address);
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      return changes === 1;
    },
    remove(address) {
      deletePushesOf.run(address);
      return deleteAccount.run(address).changes === 1;
    },
    count: () => Number(countAccounts.get()?.['n'] ?? 0),
    addressesAfter: (after, limit) => addresses(pageOfAddresses.all(after, limit)),
    inactiveSince: (day, limit) => addresses(inactive.all(day, limit)),

    tokens: (address, today) =>
      selectTokens.all(address, today - pushTokenLifetimeDays).map((row) => String(row['token'])),
    addToken(address, token, today) {
      // A client renews its token on every connection; only the first of a day changes anything.
      if (upsertToken.run(token, today, address).changes === 0) return;
      deleteStaleTokens.run(address, today - pushTokenLifetimeDays);
      deleteExcessTokens.run(address, address, maxTokensPerAccount);
    },
    removeToken: (address, token) => void deleteToken.run(address, token),

    addPendingPush: (push) =>
      void upsertPush.run(push.token, push.address, push.firstSec, push.dueSec, push.attempts),
    pendingPushes: (dueSec, limit) => duePushes.all(dueSec, limit).map(toPendingPush),
    nextPushSec() {
      const due = firstDue.get()?.['due'];
      return typeof due === 'number' ? due : null;
    },
    removePendingPush: (token) => void deletePush.run(token),
    countPendingPushes: () => Number(countPushes.get()?.['n'] ?? 0),

    close() {
      // Closing the last connection checkpoints the log into the file and removes it.
      database.exec('PRAGMA optimize');
      database.close();
    },
  };
}
