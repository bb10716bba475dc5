/**
 * The multiplexer on 443 against nginx with `ssl_preread`: what a connection costs when it is opened, while it
 * carries, and while it waits. Neither ends TLS, so after a real ClientHello any bytes will do.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { services } from '../../appliance/services.ts';
import { waitUntil } from '../vm/relay-namespace.ts';
import { type Bench, type BenchContext, type BenchRow, format, median, quantile } from './bench.ts';
import { configureNginx } from './peers/nginx.ts';

const mebibyte = 1024 * 1024;
const streams = 4;
const streamBytes = 128 * mebibyte;
const rounds = 5;
const opened = 1500;
const openedAtOnce = 20;
const latencySamples = 400;
const idleConnections = 1000;
/** USER_HZ is 100 on all that Node runs on. */
const msPerTick = 10;

interface Measured {
  readonly downPerSecond: number[];
  readonly upPerSecond: number[];
  readonly openedPerSecond: number[];
  readonly latenciesMs: number[];
  /** Of the multiplexer alone, which other work on the machine leaves nearly as it is. */
  readonly cpuMsPerGigabyte: number[];
  readonly cpuMsPerConnection: number[];
}

interface Subject {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly port: number;
}

const none = (): Measured => ({
  downPerSecond: [],
  upPerSecond: [],
  openedPerSecond: [],
  latenciesMs: [],
  cpuMsPerGigabyte: [],
  cpuMsPerConnection: [],
});

export const muxBench: Bench = {
  name: 'mux',
  title: 'the multiplexer on port 443',
  needs: {
    root: true,
    tools: {
      'nginx-core': 'nginx',
      'libnginx-mod-stream': '/usr/lib/nginx/modules/ngx_stream_module.so',
    },
  },
  async run(context) {
    const hellos = { down: await recordHello('imap'), up: await recordHello('smtp') };
    await using backend = await startBackend();
    const subjects = await prepare(context, backend);
    const measured = subjects.map(none);
    const direct: number[] = [];
    {
      await using stack = new AsyncDisposableStack();
      const running: Running[] = [];
      for (const subject of subjects) running.push(stack.use(await start(subject)));
      // Turn by turn, so that a busy second of this machine falls on all alike.
      for (let round = 0; round < rounds; round++) {
        direct.push(...(await latencies(backend.sinkPort, hellos.up)));
        for (const [index, { name, port }] of subjects.entries()) {
          const into = measured[index] ?? none();
          context.signal.throwIfAborted();
          const cpuMs = () => running[index]?.cpuMs() ?? 0;
          const before = await cpuMs();
          into.downPerSecond.push(await carry(port, hellos.down, 'down'));
          into.upPerSecond.push(await carry(port, hellos.up, 'up'));
          const carried = await cpuMs();
          into.openedPerSecond.push(await openMany(port, hellos.up));
          into.cpuMsPerGigabyte.push(((carried - before) * 1e9) / (2 * streams * streamBytes));
          into.cpuMsPerConnection.push(((await cpuMs()) - carried) / opened);
          into.latenciesMs.push(...(await latencies(port, hellos.up)));
          context.note(
            `${name}: down ${format((into.downPerSecond.at(-1) ?? 0) / 1e6)} MB/s, up ${format((into.upPerSecond.at(-1) ?? 0) / 1e6)} MB/s, ${format(into.openedPerSecond.at(-1) ?? 0)} connections/s`,
          );
        }
      }
    }
    const idleBytes: number[] = [];
    for (const subject of subjects) {
      idleBytes.push(await bytesPerIdle(subject, hellos.up));
      context.note(`${subject.name}: ${format((idleBytes.at(-1) ?? 0) / 1024)} KiB per idle connection`);
    }
    const [ours, nginx] = measured;
    if (ours === undefined || nginx === undefined) throw new TypeError('A subject was not measured');
    return {
      rows: report(ours, nginx, direct, idleBytes),
      remarks: [
        `${rounds} rounds, turn by turn: ${streams} connections with ${streamBytes / mebibyte} MiB each way,`,
        `${opened} connections ${openedAtOnce} at a time, ${latencySamples} one after the other.`,
        'Client and backend run on the same processors. "Added" is over a connection straight to the backend, from',
        'connecting to the first byte of the answer. nginx runs one worker with its own defaults and sends the PROXY',
        `header in its text form. Memory is PSS with ${idleConnections} connections that have been answered, less PSS with none.`,
      ],
    };
  },
};

function report(
  ours: Measured,
  nginx: Measured,
  direct: readonly number[],
  [oursIdle = 0, nginxIdle = 0]: readonly number[],
): BenchRow[] {
  const compare = (
    what: string,
    one: number,
    other: number,
    unit: string,
    goal?: BenchRow['goal'],
  ): BenchRow => ({
    what,
    ours: one,
    peer: other,
    peerName: 'nginx',
    unit,
    better: unit.endsWith('/s') ? 'more' : 'less',
    ...(goal === undefined ? {} : { goal }),
  });
  const added = (all: readonly number[], share: number) =>
    Math.max(0, quantile(all, share) - quantile(direct, share));
  const [oursDown, nginxDown] = [median(ours.downPerSecond), median(nginx.downPerSecond)];
  const [oursUp, nginxUp] = [median(ours.upPerSecond), median(nginx.upPerSecond)];
  const addedMs = added(ours.latenciesMs, 0.5);
  return [
    compare('to the client', oursDown / 1e6, nginxDown / 1e6, 'MB/s', {
      text: '≥ 0.8×',
      met: oursDown >= 0.8 * nginxDown,
    }),
    compare('from the client', oursUp / 1e6, nginxUp / 1e6, 'MB/s', {
      text: '≥ 0.8×',
      met: oursUp >= 0.8 * nginxUp,
    }),
    compare(
      'connections opened',
      median(ours.openedPerSecond),
      median(nginx.openedPerSecond),
      'connections/s',
    ),
    compare('added to connecting, median', addedMs, added(nginx.latenciesMs, 0.5), 'ms', {
      text: '≤ 1 ms',
      met: addedMs <= 1,
    }),
    compare(
      'added to connecting, 99 of 100 within',
      added(ours.latenciesMs, 0.99),
      added(nginx.latenciesMs, 0.99),
      'ms',
    ),
    compare('processor time for a GB', median(ours.cpuMsPerGigabyte), median(nginx.cpuMsPerGigabyte), 'ms'),
    compare(
      'processor time for a connection',
      median(ours.cpuMsPerConnection),
      median(nginx.cpuMsPerConnection),
      'ms',
    ),
    compare('memory per idle connection', oursIdle / 1024, nginxIdle / 1024, 'KiB', {
      text: '≤ 1.5× nginx’s',
      met: oursIdle <= 1.5 * nginxIdle,
    }),
  ];
}

/** What Node's OpenSSL says first with one protocol. */
async function recordHello(protocol: string): Promise<Buffer> {
  await using server = createServer();
  const first = new Promise<Buffer>((resolve) => {
    server.once('connection', (socket) => {
      socket.on('error', () => {});
      socket.once('data', (chunk) => {
        resolve(chunk);
        socket.destroy();
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  connectTls({ host: '127.0.0.1', port, servername: 'chat.example.org', ALPNProtocols: [protocol] }).on(
    'error',
    () => {},
  );
  return await first;
}

interface RunningBackend extends AsyncDisposable {
  readonly sinkPort: number;
  readonly sourcePort: number;
}

async function startBackend(): Promise<RunningBackend> {
  const script = join(import.meta.dirname, 'mux-backend.ts');
  const child = spawn(process.execPath, [script, String(streamBytes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const [sinkPort = 0, sourcePort = 0] = line.toString().split(' ').map(Number);
  return { sinkPort, sourcePort, [Symbol.asyncDispose]: () => end(child) };
}

async function prepare(
  { directory }: BenchContext,
  { sinkPort, sourcePort }: RunningBackend,
): Promise<readonly Subject[]> {
  // With the same flags for V8 as on the device.
  const flags =
    services({ keepsTime: false })
      .find(({ name }) => name === 'edge')
      ?.args.slice(0, -1) ?? [];
  const [oursPort, nginxPort] = [await freePort(), await freePort()];
  const backends = new Map([
    ['smtp', sinkPort],
    ['imap', sourcePort],
  ]);
  return [
    {
      name: 'ours',
      command: process.execPath,
      args: [
        ...flags,
        join(import.meta.dirname, 'mux-server.ts'),
        ...[oursPort, sinkPort, sourcePort].map(String),
      ],
      port: oursPort,
    },
    {
      name: 'nginx',
      command: 'nginx',
      args: await configureNginx(directory, { port: nginxPort, backends }),
      port: nginxPort,
    },
  ];
}

async function freePort(): Promise<number> {
  await using server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

interface Running extends AsyncDisposable {
  /** Bytes of memory of the process and its children. */
  pssBytes(): Promise<number>;
  /** Processor time they have used so far. */
  cpuMs(): Promise<number>;
}

async function start({ name, command, args, port }: Subject): Promise<Running> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  let failure: Error | undefined;
  child.on('error', (error) => {
    failure = error;
  });
  await waitUntil(
    async () => {
      if (failure !== undefined) throw failure;
      if (child.exitCode !== null) throw new Error(`${command} ended with code ${child.exitCode}`);
      return answers(port);
    },
    20_000,
    () => `${name} on port ${port}`,
  );
  const processes = async (): Promise<string[]> => {
    const { pid } = child;
    if (pid === undefined) throw new Error(`${command} does not run`);
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1');
    return [String(pid), ...children.trim().split(' ')].filter((text) => text !== '');
  };
  return {
    async pssBytes() {
      let total = 0;
      for (const pid of await processes()) {
        const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
        total += Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
      }
      return total;
    },
    async cpuMs() {
      let ticks = 0;
      for (const pid of await processes()) {
        // proc_pid_stat(5): the name in brackets is the second field, user and system time are 14 and 15.
        const [, after = ''] = (await readFile(`/proc/${pid}/stat`, 'latin1')).split(/\) (?!.*\) )/);
        const fields = after.split(' ');
        ticks += Number(fields[11]) + Number(fields[12]);
      }
      return ticks * msPerTick;
    },
    [Symbol.asyncDispose]: () => end(child),
  };
}

async function answers(port: number): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1' });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** A connection that the backend has answered with its first byte. */
async function open(port: number, hello: Buffer): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.write(hello);
  await once(socket, 'data');
  return socket;
}

/** Bytes a second of several connections together. */
async function carry(port: number, hello: Buffer, direction: 'down' | 'up'): Promise<number> {
  const started = performance.now();
  await Promise.all(Array.from({ length: streams }, () => (direction === 'down' ? take : give)(port, hello)));
  return (streams * streamBytes * 1000) / (performance.now() - started);
}

async function take(port: number, hello: Buffer): Promise<void> {
  let total = 0;
  const socket = connect({
    port,
    host: '127.0.0.1',
    // One buffer for all that comes, so that the client's own work is small.
    onread: {
      buffer: Buffer.alloc(256 * 1024),
      callback: (count) => {
        total += count;
        return true;
      },
    },
  });
  socket.write(hello);
  await once(socket, 'end');
  socket.destroy();
  if (total !== streamBytes) throw new Error(`${total} bytes came of ${streamBytes}`);
}

async function give(port: number, hello: Buffer): Promise<void> {
  const socket = await open(port, hello);
  const block = Buffer.alloc(256 * 1024, 'x');
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  for (let left = streamBytes; left > 0; left -= block.length) {
    if (!socket.write(block)) await once(socket, 'drain');
  }
  socket.end();
  await once(socket, 'end');
  if (Number(text) < streamBytes) throw new Error(`${text} bytes came of ${streamBytes}`);
}

/** Connections opened, answered and closed in a second. */
async function openMany(port: number, hello: Buffer): Promise<number> {
  let left = opened;
  const started = performance.now();
  const work = async (): Promise<void> => {
    while (left-- > 0) (await open(port, hello)).destroy();
  };
  await Promise.all(Array.from({ length: openedAtOnce }, work));
  return (opened * 1000) / (performance.now() - started);
}

/** From connecting to the answer's first byte, one connection at a time. */
async function latencies(port: number, hello: Buffer): Promise<number[]> {
  const all: number[] = [];
  for (let count = 0; count < latencySamples; count++) {
    const started = performance.now();
    const socket = await open(port, hello);
    all.push(performance.now() - started);
    socket.destroy();
  }
  return all;
}

/** Of a process that has done nothing before. */
async function bytesPerIdle(subject: Subject, hello: Buffer): Promise<number> {
  await using running = await start(subject);
  const before = await running.pssBytes();
  const sockets: Socket[] = [];
  for (let count = 0; count < idleConnections; count++) sockets.push(await open(subject.port, hello));
  // What was needed for opening only has gone by then.
  await delay(5000);
  const after = await running.pssBytes();
  for (const socket of sockets) socket.destroy();
  return (after - before) / idleConnections;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const kill = setTimeout(() => child.kill('SIGKILL'), 5000);
  await ended;
  clearTimeout(kill);
}
