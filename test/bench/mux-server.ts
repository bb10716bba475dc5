/**
 * `node mux-server.ts PORT SINK SOURCE`: the multiplexer as edge.ts wires it for Dovecot and Postfix, in a process
 * of its own as on the device.
 */
import process from 'node:process';
import { createLog } from '../../appliance/base/log.ts';
import { type Backend, createMux } from '../../appliance/tls-mux/server.ts';

const [port = 0, sink = 0, source = 0] = process.argv.slice(2).map(Number);
const log = createLog('bench', (line) => process.stderr.write(`${line}\n`));
const backend = (name: string, backendPort: number): Backend => ({
  kind: 'connect',
  name,
  target: { port: backendPort },
  proxyHeader: true,
});
const stop = new AbortController();
createMux(
  {
    byProtocol: new Map([
      ['imap', backend('imap', source)],
      ['smtp', backend('smtp', sink)],
    ]),
    fallback: backend('web', sink),
    log,
    // All clients of the bench have one address.
    maxPerAddress: 10_000,
  },
  stop.signal,
).listen({ port, host: '127.0.0.1', backlog: 4096 });
process.once('SIGTERM', () => stop.abort());
