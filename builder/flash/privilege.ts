/**
 * The right to open a disk, and no other: on a terminal, sudo makes the device ours for the moment of opening
 * it. What is open stays open, so writing runs with nobody's rights but the caller's.
 */
import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import type { FlashError } from './disk.ts';
import { type Host, toolEnvironment } from './list-disks.ts';

/**
 * Runs `open` while this user owns the device at `path`, and gives it back to its owner.
 * @param uid this user's
 * @throws `refused` when sudo is missing, or says no
 */
export async function whileOwning<T>(
  path: string,
  uid: number,
  refused: FlashError,
  host: Host,
  signal: AbortSignal,
  open: () => Promise<T>,
): Promise<T> {
  const owner = (await stat(path)).uid;
  // The name of the device first: sudo's own question does not say what it is for.
  const prompt = `Your password, to open ${path} (sudo): `;
  const env = toolEnvironment(host);
  if (!(await sudo(['--prompt', prompt, 'chown', String(uid), path], env, signal))) throw refused;
  try {
    return await open();
  } finally {
    // Not interruptible: Ctrl-C must not leave the disk to us. Without a password, since it was just given.
    await sudo(['--non-interactive', 'chown', String(owner), path], env, new AbortController().signal);
  }
}

/** On the person's terminal; resolves to whether it did what it was told. */
async function sudo(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<boolean> {
  const child = spawn('sudo', args, { stdio: ['inherit', 'ignore', 'inherit'], env, signal });
  const isDone = await new Promise<boolean>((resolve) => {
    child.once('error', () => resolve(false));
    child.once('close', (code) => resolve(code === 0));
  });
  signal.throwIfAborted();
  return isDone;
}
