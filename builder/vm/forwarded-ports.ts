/** Which ports of this host lead to the guest's services. */
import { createServer } from 'node:net';
import { ports as guestPorts } from '../../appliance/contract/ports.ts';

/** What `run` forwards, in the order it is shown. */
export const services = [
  'smtp',
  'http',
  'https',
  'imap',
  'imaps',
  'submission',
  'submissions',
  'ssh',
] as const satisfies readonly (keyof typeof guestPorts)[];

export type Service = (typeof services)[number];
export type ServicePorts = Readonly<Record<Service, number>>;

/** Easy to remember: 2025 for 25, 2993 for 993, beyond the ports that need root. */
export const defaultPortOffset = 2000;

/**
 * Where systems begin to take ports for outgoing connections (Linux ip_local_port_range; others begin
 * higher): one from there may be gone again before QEMU opens it.
 */
const firstEphemeralPort = 32_768;
/** Steps between one machine's ports and the next one's. */
const offsetStep = 1000;

/**
 * Chooses a free port for each service: `offset` + the guest's, or where that is taken a thousand more, and
 * so on, or at last any free one.
 * A port may be taken by another program between this and its use; QEMU then refuses to start.
 * @param chosen ports asked for by name; never replaced by others
 * @throws RangeError when the offset leaves no valid port, Error naming a chosen port that is taken
 */
export async function chooseForwardedPorts(options: {
  readonly hostAddress: string;
  readonly offset?: number;
  readonly chosen?: Partial<ServicePorts>;
}): Promise<ServicePorts> {
  const { hostAddress, offset = defaultPortOffset, chosen = {} } = options;
  const result: Partial<Record<Service, number>> = {};
  // All stay open until all are chosen, or one port might be handed out twice.
  const held: Disposable[] = [];
  try {
    for (const service of services) {
      const asked = chosen[service];
      if (asked === undefined) continue;
      const listener = await tryListen(hostAddress, asked);
      if (listener === undefined) {
        throw new Error(`Port ${asked} for ${service} on ${hostAddress} is taken or not allowed`);
      }
      held.push(listener);
      result[service] = asked;
    }
    for (const service of services) {
      if (result[service] !== undefined) continue;
      const preferred = offset + guestPorts[service];
      if (preferred > 65_535 || preferred < 1) {
        throw new RangeError(`A port offset of ${offset} leaves no port for ${service}`);
      }
      const listener = await listenFrom(hostAddress, preferred);
      if (listener === undefined) throw new Error(`Cannot listen on ${hostAddress}: no port is free`);
      held.push(listener);
      result[service] = listener.port;
    }
    return complete(result);
  } finally {
    for (const listener of held) listener[Symbol.dispose]();
  }
}

function complete(found: Partial<Record<Service, number>>): ServicePorts {
  const portOf = (service: Service) => {
    const port = found[service];
    if (port === undefined) throw new Error(`No port for ${service}`);
    return port;
  };
  return {
    smtp: portOf('smtp'),
    http: portOf('http'),
    https: portOf('https'),
    imap: portOf('imap'),
    imaps: portOf('imaps'),
    submission: portOf('submission'),
    submissions: portOf('submissions'),
    ssh: portOf('ssh'),
  };
}

async function listenFrom(hostAddress: string, preferred: number) {
  for (let port = preferred; port < firstEphemeralPort; port += offsetStep) {
    const listener = await tryListen(hostAddress, port);
    if (listener !== undefined) return listener;
  }
  return (await tryListen(hostAddress, preferred)) ?? (await tryListen(hostAddress, 0));
}

async function tryListen(
  host: string,
  port: number,
): Promise<({ readonly port: number } & Disposable) | undefined> {
  const server = createServer();
  const listening = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => resolve(true));
  });
  const address = server.address();
  if (!listening || address === null || typeof address === 'string') return undefined;
  return { port: address.port, [Symbol.dispose]: () => void server.close() };
}
