/** Accounts that are there before a relay starts: one on a busy machine takes nobody new. */
import { chown, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hashPassword } from '../../appliance/accounts/password.ts';
import { dayOf, openAccountStore } from '../../appliance/accounts/store.ts';
import { users } from '../../appliance/contract/users.ts';

const cheap = { memoryKib: 64, passes: 1, parallelism: 1 };

/** @param dataDirectory what is going to be DATA */
export async function prepareAccounts(
  dataDirectory: string,
  addresses: readonly string[],
  password: string,
): Promise<void> {
  const directory = join(dataDirectory, 'relay');
  await mkdir(directory, { recursive: true });
  const store = openAccountStore(join(directory, 'accounts.sqlite'));
  const hash = await hashPassword(password, cheap);
  for (const address of addresses) store.create(address, hash, dayOf(Date.now()));
  store.close();
  const { uid, gid } = users.relay;
  for (const name of await readdir(directory)) await chown(join(directory, name), uid, gid);
}
