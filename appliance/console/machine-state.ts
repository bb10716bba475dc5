/** What the screen shows of the machine itself. */
import { statfs } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';

/** Addresses that others may reach: no loopback, no link-local ones. */
export function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address)
    .toSorted((one, other) => one.length - other.length);
}

/** How full the filesystem is at `path`; undefined when it cannot be asked. */
export async function diskUse(
  path: string,
): Promise<{ readonly usedBytes: number; readonly totalBytes: number } | undefined> {
  try {
    const { bsize, blocks, bavail, bfree } = await statfs(path);
    // As df(1): what only root may still use counts as neither used nor available.
    const usedBytes = (blocks - bfree) * bsize;
    return { usedBytes, totalBytes: usedBytes + bavail * bsize };
  } catch {
    return undefined;
  }
}
