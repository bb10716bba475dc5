/**
 * Forces a file to the disk off the event loop, one flush for all who ask at the same time: an SD card takes
 * a tenth of a second for one, and as long for twenty.
 */
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { flushDirectory } from '../base/atomic-file.ts';

/**
 * A function that resolves when everything written to `path` before the call is on the disk.
 * @throws the system's error, to all who asked
 */
export function createDiskFlush(path: string): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  let isNamed = false;

  const flush = async (): Promise<void> => {
    await using file = await open(path, 'r');
    await file.datasync();
    if (isNamed) return;
    // A new file is lost with its name.
    await flushDirectory(dirname(path));
    isNamed = true;
  };
  const after = async (earlier: Promise<void> | undefined): Promise<void> => {
    await earlier?.catch(() => {});
    running = next;
    next = undefined;
    await flush();
  };

  return () => {
    // One that runs may have begun before the caller's write; the one after it has not.
    next ??= after(running);
    return next;
  };
}
