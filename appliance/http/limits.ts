/** How much of the machine strangers may fill, and for how long. */
import type { IncomingMessage } from 'node:http';

export interface ConnectionLimits {
  /** Connections of the multiplexer. */
  readonly mux: number;
  /** Those of them that carry what nobody takes. */
  readonly stalled: number;
  /** Connections of the HTTPS server. */
  readonly https: number;
  /** Messages that other relays deliver over HTTPS: no more than Postfix has processes for (inbound of master.cf). */
  readonly deliveries: number;
}

/**
 * By the machine's memory: a connection that is carried takes 16 kB of ours and of the kernel's, one that carries
 * what nobody takes up to 200 kB, one of the HTTPS server 100 kB.
 */
export function connectionLimits(memoryBytes: number): ConnectionLimits {
  const share = (part: number, bytesEach: number, least: number, most: number) =>
    Math.max(least, Math.min(most, Math.floor((memoryBytes * part) / bytesEach)));
  return {
    mux: share(1 / 8, 16 * 1024, 2000, 20_000),
    stalled: share(1 / 16, 200 * 1024, 100, 2000),
    https: share(1 / 16, 100 * 1024, 100, 2000),
    deliveries: share(1, 20 * 1024 * 1024, 20, 50),
  };
}

/** Ends a request whose body is not there in time, whatever its handler waits for. */
export function limitBody(request: IncomingMessage, timeoutMs: number): void {
  const deadline = setTimeout(() => request.destroy(), timeoutMs);
  const forget = () => clearTimeout(deadline);
  request.once('end', forget).once('close', forget);
}
