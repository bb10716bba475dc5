/**
 * Whether the clock is set by the network: the kernel keeps a flag that chrony (with rtcsync) clears once
 * it is. adjtimex(2), STA_UNSYNC.
 */
import { runCommand } from '../base/run-command.ts';
import { tools } from '../base/tools.ts';

const unsynchronisedBit = 0x40;

/** Reads the `status:` line of busybox adjtimex; false where there is none. Pure. */
export function readAdjtimexStatus(text: string): boolean {
  const status = /^\s*status:\s*(\d+)/m.exec(text)?.[1];
  return status !== undefined && (Number(status) & unsynchronisedBit) === 0;
}

export async function isSynchronised(signal: AbortSignal): Promise<boolean> {
  try {
    return readAdjtimexStatus((await runCommand([tools.busybox, 'adjtimex'], { signal })).stdout);
  } catch {
    return false;
  }
}
