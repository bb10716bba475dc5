/**
 * Runs a built image in QEMU, without altering it, until the relay answers: finds QEMU, tries the host's
 * acceleration for real, forwards ports, and says in time why it did not come up.
 */
import { mkdtempDisposable, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ports as guestPorts } from '../appliance/contract/ports.ts';
import {
  type AcceleratorMemory,
  acceleratorMemory,
  initramfsStarted,
  nativeAccelerator,
  proofTimeoutMs,
} from './vm/accelerator.ts';
import { chooseForwardedPorts, type ServicePorts, services } from './vm/forwarded-ports.ts';
import type { Accelerator, Architecture, Firmware } from './vm/machine.ts';
import { openOverlay } from './vm/overlay.ts';
import { findQemu, findUefi, type HostSystem, type Qemu } from './vm/qemu-install.ts';
import {
  describeExit,
  MachineError,
  type MachineStart,
  type RunningMachine,
  startMachine,
} from './vm/qemu-process.ts';
import { type RelayGreeting, waitUntilReady } from './vm/ready.ts';

export interface VmOptions {
  readonly image: string;
  readonly architecture: Architecture;
  /** Default: BIOS on x86-64, UEFI on arm64, which has nothing else. */
  readonly firmware?: 'bios' | 'uefi' | undefined;
  /** Default 'auto': the host's own if it works, else emulation. */
  readonly accelerator?: Accelerator | 'auto' | undefined;
  readonly memoryMb: number;
  readonly cpus: number;
  /** Address of this host the ports are forwarded from. */
  readonly hostAddress: string;
  readonly portOffset?: number | undefined;
  readonly ports?: Partial<ServicePorts> | undefined;
  /** Keeps what the guest writes here; without it everything is forgotten at the end. */
  readonly persistDirectory?: string | undefined;
  /** How much larger than the image the guest's disk is. */
  readonly extraDiskBytes: number;
  /** Where failed accelerators are remembered. */
  readonly cacheDirectory: string;
  /** Boots this kernel instead of what the image's boot loader would start. */
  readonly directBoot?: MachineStart['directBoot'];
  readonly host: HostSystem;
  readonly clock: () => Date;
  readonly onLine?: ((line: string) => void) | undefined;
  /** Told when the host's acceleration is not used, and why. */
  readonly onNote?: ((text: string) => void) | undefined;
}

/** A machine that runs, with what it runs from. Disposing of it kills it and removes a temporary disk. */
export interface Vm extends AsyncDisposable {
  readonly machine: RunningMachine;
  readonly accelerator: Accelerator;
  readonly firmware: 'bios' | 'uefi';
  readonly hostAddress: string;
  readonly ports: ServicePorts;
  readonly qemu: Qemu;
}

/**
 * Starts the machine: it runs, but nothing in it answers yet.
 * @throws MissingQemuError, MachineError, ConfigError (the kept disk is another image's)
 */
export async function startVm(options: VmOptions, signal: AbortSignal): Promise<Vm> {
  const { architecture, host, hostAddress } = options;
  await stat(options.image);
  const qemu = await findQemu(architecture, host, signal);
  const firmware = await chooseFirmware(options, qemu);
  const ports = await chooseForwardedPorts({
    hostAddress,
    ...(options.portOffset === undefined ? {} : { offset: options.portOffset }),
    ...(options.ports === undefined ? {} : { chosen: options.ports }),
  });
  await using cleanup = new AsyncDisposableStack();
  const directory =
    options.persistDirectory ?? cleanup.use(await mkdtempDisposable(join(tmpdir(), 'chatmail-run-'))).path;
  const overlay = await openOverlay({
    image: options.image,
    directory,
    extraBytes: options.extraDiskBytes,
    signal,
  });
  const start: Omit<MachineStart, 'accelerator'> = {
    qemu: qemu.path,
    architecture,
    firmware,
    disk: { path: overlay.path, format: 'qcow2' },
    memoryMb: options.memoryMb,
    cpus: options.cpus,
    forwards: services.map((service) => ({
      hostAddress,
      hostPort: ports[service],
      guestPort: guestPorts[service],
    })),
    directBoot: options.directBoot,
  };
  const { machine, accelerator } = await startAccelerated(start, options, qemu, signal);
  cleanup.use(machine);
  const kept = cleanup.move();
  return {
    machine,
    accelerator,
    firmware: firmware.kind,
    hostAddress,
    ports,
    qemu,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function chooseFirmware(options: VmOptions, qemu: Qemu): Promise<Firmware> {
  const kind = options.firmware ?? (options.architecture === 'x86_64' ? 'bios' : 'uefi');
  if (kind === 'uefi') return findUefi(options.architecture, qemu, options.host);
  if (options.architecture !== 'x86_64') throw new RangeError('Only x86-64 machines have a BIOS');
  return { kind };
}

/** The machine with the host's acceleration once it has proved itself, else emulated. */
async function startAccelerated(
  start: Omit<MachineStart, 'accelerator'>,
  options: VmOptions,
  qemu: Qemu,
  signal: AbortSignal,
): Promise<{ machine: RunningMachine; accelerator: Accelerator }> {
  const wanted = options.accelerator ?? 'auto';
  const note = options.onNote ?? (() => {});
  const launch = async (accelerator: Accelerator) => {
    const machine = await startMachine({ ...start, accelerator }, signal);
    if (options.onLine !== undefined) machine.onLine(options.onLine);
    return { machine, accelerator };
  };
  if (wanted !== 'auto') return launch(wanted);

  const memory = acceleratorMemory(options.cacheDirectory, qemu, options.clock);
  const accelerator = await acceleratorToTry(options, qemu, memory, note);
  if (accelerator === undefined) return launch('tcg');
  let reason: string;
  try {
    const started = await launch(accelerator);
    const failure = await bootFailure(started.machine, signal);
    if (failure === undefined) return started;
    await started.machine.kill();
    reason = failure;
  } catch (error) {
    if (!(error instanceof MachineError)) throw error;
    reason = error.message;
  }
  await memory.rememberFailure(accelerator);
  note(`${accelerator.toUpperCase()} does not work on this host (${reason}): emulating, which is slower`);
  return launch('tcg');
}

async function acceleratorToTry(
  options: VmOptions,
  qemu: Qemu,
  memory: AcceleratorMemory,
  note: (text: string) => void,
): Promise<Accelerator | undefined> {
  const found = await nativeAccelerator({
    architecture: options.architecture,
    qemu,
    host: options.host,
    hostArchitecture: process.arch,
  });
  if ('reason' in found) {
    note(`No acceleration: ${found.reason}`);
    return undefined;
  }
  if (await memory.hasFailed(found.accelerator)) {
    note(`${found.accelerator.toUpperCase()} did not work on this host lately: emulating, which is slower`);
    return undefined;
  }
  return found.accelerator;
}

/** Why the machine did not get as far as its initramfs; undefined when it did. */
async function bootFailure(machine: RunningMachine, signal: AbortSignal): Promise<string | undefined> {
  const within = AbortSignal.any([signal, AbortSignal.timeout(proofTimeoutMs)]);
  try {
    await machine.console.waitFor(initramfsStarted, { signal: within });
    return undefined;
  } catch (error) {
    if (signal.aborted) {
      await machine.kill();
      throw error;
    }
    if (machine.hasExited) return describeExit(await machine.exited);
    return `Linux did not start within ${proofTimeoutMs / 1000} seconds`;
  }
}

/** What a guest says that will not come up by waiting. */
const fatalLine = /Kernel panic - not syncing.*|chatmail: initramfs: .*rebooting.*/;

/**
 * Waits until the relay in the machine answers.
 * @throws MachineError with the last lines of the console when the guest panics, stops, or is not ready in time
 */
export async function waitForRelay(
  vm: Pick<Vm, 'machine' | 'hostAddress' | 'ports'>,
  options: {
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
    readonly onWaiting?: (reason: string) => void;
  },
): Promise<RelayGreeting> {
  const { machine } = vm;
  const { signal, timeoutMs } = options;
  const stop = new AbortController();
  const timeout = AbortSignal.timeout(timeoutMs);
  const within = AbortSignal.any([signal, timeout, stop.signal]);
  let lastReason = 'nothing answered yet';
  const ready = waitUntilReady({
    host: vm.hostAddress,
    ports: vm.ports,
    signal: within,
    onWaiting: (reason) => {
      lastReason = reason;
      options.onWaiting?.(reason);
    },
  });
  const fatal = machine.console.waitFor(fatalLine, { signal: within });
  try {
    const first = await Promise.race([
      ready,
      fatal.then((match) => new MachineError(`The guest failed: ${match[0]}`, machine.console.lastLines(12))),
      machine.exited.then((exit) => new MachineError(describeExit(exit), machine.console.lastLines(12))),
    ]);
    if (first instanceof MachineError) throw first;
    return first;
  } catch (error) {
    signal.throwIfAborted();
    if (!timeout.aborted) throw error;
    throw new MachineError(
      `The relay was not ready within ${timeoutMs / 1000} seconds: ${lastReason}`,
      machine.console.lastLines(12),
      { cause: error },
    );
  } finally {
    stop.abort();
    // All but the first of the race are of no interest any more.
    await Promise.allSettled([ready, fatal]);
  }
}
