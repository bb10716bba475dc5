/** One running QEMU: its process, console and machine protocol. Starting, switching off, killing. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProtocolError } from '../../appliance/base/errors.ts';
import { type ConsoleRecorder, createConsole, type GuestConsole } from './console.ts';
import { expectConnection } from './expect-connection.ts';
import { type MachineConfig, machineArguments } from './machine.ts';
import { connectQmp, type QmpClient, type QmpEvent } from './qmp.ts';

export interface MachineExit {
  /** Exit code of QEMU; null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /**
   * Why the guest stopped, in QEMU's words (qapi/run-state.json, ShutdownCause): `guest-shutdown`,
   * `host-qmp-quit` …; undefined when QEMU ended without saying so.
   */
  readonly reason: string | undefined;
  /** What QEMU itself had to say: warnings, and why it did not start. */
  readonly errors: string;
}

/** QEMU did not start, or ended while somebody still needed the machine. */
export class MachineError extends Error {
  override name = 'MachineError';
  readonly code = 'machine';
  readonly fix = 'Run it again with --console to see all that the machine says';
  readonly lastLines: readonly string[];
  constructor(message: string, lastLines: readonly string[], options?: ErrorOptions) {
    super(lastLines.length === 0 ? message : `${message}\n${quote(lastLines)}`, options);
    this.lastLines = lastLines;
  }
}

export interface RunningMachine extends AsyncDisposable {
  readonly console: GuestConsole;
  readonly processId: number;
  /** Settles when QEMU has ended. Never rejects. */
  readonly exited: Promise<MachineExit>;
  /** True once QEMU has ended. */
  readonly hasExited: boolean;
  /** Types into the serial console. */
  type(text: string): void;
  /**
   * Presses the power button, and waits until the guest has switched itself off.
   * @throws MachineError when it has not within `timeoutMs`
   */
  powerDown(options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<MachineExit>;
  /** Presses the reset button. */
  reset(): Promise<void>;
  /** Pulls the plug: writes the guest had not flushed may be lost. */
  kill(): Promise<MachineExit>;
  onLine(listener: (line: string) => void): void;
}

/** From the start of the process to the first word of its machine protocol. */
const startTimeoutMs = 30_000;
const maxErrorCharacters = 64 * 1024;
/** Pressed again now and then: a guest that is still booting has nobody to notice. */
const powerButtonEveryMs = 5000;

export type MachineStart = Omit<MachineConfig, 'qmp' | 'console'> & { readonly qemu: string };

/**
 * Starts QEMU and returns when the guest runs. Disposing of the machine kills it.
 * @throws MachineError with QEMU's words when it refuses to start
 */
export function startMachine(start: MachineStart, signal: AbortSignal): Promise<RunningMachine> {
  return startQemu(start.qemu, (endpoints) => machineArguments({ ...start, ...endpoints }), signal);
}

/**
 * Starts QEMU with arguments of one's own, which have to lead its machine protocol and the serial line to
 * the endpoints given.
 * @throws MachineError with QEMU's words when it refuses to start
 */
export async function startQemu(
  qemu: string,
  argumentsFor: (endpoints: Pick<MachineConfig, 'qmp' | 'console'>) => readonly string[],
  signal: AbortSignal,
): Promise<RunningMachine> {
  signal.throwIfAborted();
  using qmp = await expectConnection(signal);
  // Not the child's standard output: that is a Unix socket, where every byte the guest writes counts as a
  // message of its own, and when it is full QEMU drops what the guest writes. TCP puts bytes together.
  using console = await expectConnection(signal);
  const child = spawn(qemu, argumentsFor({ qmp, console }), {
    stdio: ['ignore', 'ignore', 'pipe'],
    // In a process group of its own, or Ctrl-C on the terminal would end QEMU before the guest is asked.
    detached: true,
    windowsHide: true,
  });
  return await attach(child, qmp.socket, console.socket, signal);
}

type QemuChild = ChildProcessByStdio<null, null, Readable>;

async function attach(
  child: QemuChild,
  qmpConnection: Promise<Socket>,
  consoleConnection: Promise<Socket>,
  signal: AbortSignal,
): Promise<RunningMachine> {
  const console = createConsole();
  const serial = openConsole(consoleConnection, console);
  const state = { exited: false, reason: undefined as string | undefined };
  const exited = watchExit(child, console, serial, state);
  const killOnExit = () => void child.kill('SIGKILL');
  process.once('exit', killOnExit);
  void exited.then(() => process.off('exit', killOnExit));

  const closing = new AbortController();
  const onEvent = ({ name, data }: QmpEvent) => {
    if (name === 'SHUTDOWN') state.reason = typeof data['reason'] === 'string' ? data['reason'] : name;
  };
  const connect = async (): Promise<QmpClient> => {
    const socket = await qmpConnection;
    return connectQmp(socket.resume(), { onEvent, signal: closing.signal });
  };

  const kill = async () => {
    child.kill('SIGKILL');
    const exit = await exited;
    closing.abort();
    return exit;
  };

  let qmp: QmpClient;
  const connecting = connect();
  connecting.catch(() => {});
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(startTimeoutMs)]);
  try {
    const aborted = once(deadline, 'abort');
    const first = await Promise.race([connecting, exited, aborted]);
    if (Array.isArray(first)) {
      signal.throwIfAborted();
      throw new MachineError(`QEMU did not answer within ${startTimeoutMs / 1000} seconds`, []);
    }
    if ('errors' in first) throw notStarted(first);
    qmp = first;
  } catch (error) {
    const exit = await kill();
    // A QEMU that gives up hangs up first; why is in what it wrote.
    throw error instanceof ProtocolError ? notStarted(exit) : error;
  }
  void exited.then(() => closing.abort());

  return {
    console,
    exited,
    processId: child.pid ?? 0,
    get hasExited() {
      return state.exited;
    },
    type: (text) => serial.write(text),
    onLine: (listener) => console.onLine(listener),
    kill,
    reset: async () => void (await qmp.execute('system_reset')),
    async powerDown({ timeoutMs, signal: powerSignal }) {
      const stop = new AbortController();
      const within = AbortSignal.any([powerSignal, stop.signal, AbortSignal.timeout(timeoutMs)]);
      const pressing = (async () => {
        while (!within.aborted) {
          await qmp.execute('system_powerdown');
          await sleep(powerButtonEveryMs, undefined, { signal: within });
        }
      })();
      // It ends by the guest's end or the deadline; both are looked at below.
      pressing.catch(() => {});
      try {
        const ended = await Promise.race([exited, once(within, 'abort').then(() => undefined)]);
        if (ended !== undefined) return ended;
        powerSignal.throwIfAborted();
        throw new MachineError(
          `The guest did not switch itself off within ${timeoutMs / 1000} seconds`,
          console.lastLines(10),
        );
      } finally {
        stop.abort();
      }
    },
    [Symbol.asyncDispose]: async () => void (await kill()),
  };
}

interface SerialLine {
  write(text: string): void;
  /** Settles when all that was sent has been read. */
  readonly drained: () => Promise<void>;
}

function openConsole(connection: Promise<Socket>, console: ConsoleRecorder): SerialLine {
  let socket: Socket | undefined;
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  void connection.then((opened) => {
    socket = opened;
    opened.setEncoding('utf8').on('data', (chunk: string) => console.push(chunk));
    // QEMU was killed: its end is looked at elsewhere.
    opened.on('error', () => {});
    opened.once('close', resolve);
    opened.resume();
  });
  return {
    write: (text) => void socket?.write(text),
    drained: () => (socket === undefined ? Promise.resolve() : closed),
  };
}

function watchExit(
  child: QemuChild,
  console: ConsoleRecorder,
  serial: SerialLine,
  state: { exited: boolean; reason: string | undefined },
): Promise<MachineExit> {
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors = (errors + chunk).slice(-maxErrorCharacters);
  });
  return new Promise((resolve) => {
    const end = async (code: number | null, signal: NodeJS.Signals | null) => {
      await serial.drained();
      state.exited = true;
      const exit: MachineExit = { code, signal, reason: state.reason, errors: errors.trim() };
      console.end(new MachineError(describeExit(exit), console.lastLines(20)));
      resolve(exit);
    };
    child.once('error', (error) => {
      errors += error.message;
      void end(null, null);
    });
    child.once('close', (code, signal) => void end(code, signal));
  });
}

function notStarted(exit: MachineExit): MachineError {
  return new MachineError(`QEMU did not start: ${exit.errors === '' ? describeExit(exit) : exit.errors}`, []);
}

/** A sentence about how a machine ended. */
export function describeExit({ code, signal, reason, errors }: MachineExit): string {
  if (reason === 'guest-shutdown') return 'The guest switched itself off';
  if (reason === 'guest-reset') return 'The guest rebooted';
  const how = signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
  return `QEMU ${how}${errors === '' ? '' : `: ${errors}`}`;
}

function quote(lines: readonly string[]): string {
  return lines.map((line) => `    | ${line}`).join('\n');
}
