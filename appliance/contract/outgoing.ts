/** How much mail to other relays is on its way at once: Postfix and the relay process have to agree. */

const mebibyte = 1024 * 1024;

export interface OutgoingLimits {
  /** Deliveries altogether; for each a process of Postfix (1.5 MB) waits. */
  readonly maxDeliveries: number;
  /** To one domain, and waiting for that: a server that hangs must leave room for the others. */
  readonly maxPerDomain: number;
  readonly maxWaitingPerDomain: number;
  /** Recipients of one message in one delivery. Fits the 16 KiB of headers that HTTP servers take. */
  readonly maxRecipients: number;
}

export function outgoingLimits(memoryBytes: number): OutgoingLimits {
  const maxDeliveries = Math.max(20, Math.min(100, Math.floor(memoryBytes / mebibyte / 16)));
  return {
    maxDeliveries,
    maxPerDomain: Math.min(10, Math.floor(maxDeliveries / 4)),
    maxWaitingPerDomain: Math.min(20, Math.floor(maxDeliveries / 4)),
    maxRecipients: 50,
  };
}
