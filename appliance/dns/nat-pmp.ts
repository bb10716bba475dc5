/**
 * Asks the router for its outer address by NAT-PMP (RFC 6886 §3.2), which also routers with PCP answer
 * (RFC 6887 §9). PCP itself tells the address only to whoever has it open a port, so it is not asked.
 *
 *   request   0  1 version 0   1  1 opcode 0
 *   answer    0  1 version 0   1  1 opcode 128   2  2 result   4  4 seconds since start   8  4 address
 */
import { createSocket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { systemCode } from '../base/errors.ts';

const serverPort = 5351;
/** §3.1: 250 ms, doubled each time. The RFC goes on for a minute; a router on the same wire answers at once. */
const waitsMs = [250, 500, 1000];

export const natPmpRequest = Uint8Array.of(0, 0);

/** The address in an answer, or null when it is none or says that there is none. */
export function decodeNatPmpAddress(bytes: Uint8Array): string | null {
  // The result is not 0 where the router has no address itself (3), or wants nothing to do with it (2, 5).
  if (bytes.length !== 12 || bytes[0] !== 0 || bytes[1] !== 128 || bytes[2] !== 0 || bytes[3] !== 0) {
    return null;
  }
  return bytes.subarray(8).join('.');
}

/**
 * The router's outer address, or null when it does not say.
 * @param router `port` is another one only in tests
 */
export async function askRouter(
  router: { readonly address: string; readonly port?: number },
  signal: AbortSignal,
): Promise<string | null> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<string | null>();
  const socket = createSocket('udp4');
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  let timer: NodeJS.Timeout | undefined;
  const send = (attempt: number): void => {
    const waitMs = waitsMs[attempt];
    if (waitMs === undefined) {
      resolve(null);
      return;
    }
    socket.send(natPmpRequest);
    timer = setTimeout(() => send(attempt + 1), waitMs);
  };
  // No server there (ECONNREFUSED), or no way to it: the same as no answer.
  socket.on('error', (error) => (systemCode(error) === undefined ? reject(error) : resolve(null)));
  socket.on('message', (datagram) => {
    const address = decodeNatPmpAddress(datagram);
    if (address !== null || datagram[1] === 128) resolve(address);
  });
  // Connected, so that only the router itself is heard (§3.1: answers from elsewhere must be ignored).
  socket.connect(router.port ?? serverPort, router.address, (failure?: Error) => {
    // Node hands a failure to this callback, not to the error event, and its types do not say so.
    if (failure !== undefined && failure !== null) resolve(null);
    else send(0);
  });
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    socket.close();
  });
}

/** The router of the default route, or null when there is none. */
export async function readRouter(): Promise<string | null> {
  return defaultRouter(await readFile('/proc/net/route', 'latin1').catch(() => ''));
}

/** RTF_UP | RTF_GATEWAY, linux/route.h. */
const gatewayFlags = 0x3;

/**
 * Pure.
 * @param routes the text of /proc/net/route: interface, destination, gateway, flags, …, metric (seventh) and
 *   mask, addresses in hexadecimal as a little-endian machine holds them
 */
export function defaultRouter(routes: string): string | null {
  const found = routes.split('\n').flatMap((line) => {
    const [, destination, gateway = '', flags = '', , , metric, mask] = line.trim().split(/\s+/);
    if (destination !== '00000000' || mask !== '00000000' || !/^[0-9A-F]{8}$/.test(gateway)) return [];
    if ((Number.parseInt(flags, 16) & gatewayFlags) !== gatewayFlags) return [];
    const address = [...Buffer.from(gateway, 'hex')].reverse().join('.');
    return [{ address, metric: Number(metric) }];
  });
  found.sort((a, b) => a.metric - b.metric);
  return found[0]?.address ?? null;
}
