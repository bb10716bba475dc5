/** Two people meet: what every image must carry, however it is run. Shared by the machine and namespace tests. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { DeltaChat } from '../oracles/delta-chat.ts';

export interface Friends {
  readonly alice: DeltaChat;
  readonly bob: DeltaChat;
  /** The chat with the other, in each one's own numbering. */
  readonly alicesChat: number;
  readonly bobsChat: number;
}

/** Bob scans Alice's code, and both verify each other. */
export async function befriend(alice: DeltaChat, bob: DeltaChat): Promise<Friends> {
  const code = await alice.inviteCode();
  const [alicesChat, bobsChat] = await Promise.all([alice.waitForJoiner(), bob.join(code)]);
  return { alice, bob, alicesChat, bobsChat };
}

/** Ten messages each way, one after the other. */
export async function exchangeTenMessages({ alice, bob, alicesChat, bobsChat }: Friends): Promise<void> {
  for (let index = 0; index < 10; index++) {
    await alice.sendText(alicesChat, `alice ${index}`);
    expect((await bob.receive(`alice ${index}`)).showPadlock).toBe(true);
    await bob.sendText(bobsChat, `bob ${index}`);
    expect((await alice.receive(`bob ${index}`)).showPadlock).toBe(true);
  }
}

/** A file of 3 MB, which arrives byte for byte. */
export async function sendFile({ alice, bob, alicesChat, bobsChat }: Friends): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'file-'));
  try {
    const bytes = randomBytes(3_000_000);
    const path = join(directory, 'photo.bin');
    await writeFile(path, bytes);
    await alice.sendFile(alicesChat, path, 'a photo');
    const received = await bob.receiveFile(bobsChat, 'photo.bin');
    const digest = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
    expect(digest(await readFile(received.file ?? ''))).toBe(digest(bytes));
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Bob reads a message, and Alice sees that he did. */
export async function readReceipt({ alice, bob, alicesChat }: Friends): Promise<void> {
  const sent = await alice.sendText(alicesChat, 'have you read this?');
  const received = await bob.receive('have you read this?');
  await bob.markSeen(received.id);
  await alice.waitForReadReceipt(sent);
}
