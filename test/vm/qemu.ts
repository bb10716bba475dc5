/** Machines for tests: builder/run-vm.ts with what every test wants, and deadlines in every wait. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { startVm, type Vm, type VmOptions, waitForRelay } from '../../builder/run-vm.ts';
import type { Accelerator } from '../../builder/vm/machine.ts';
import type { ServicePorts } from '../../builder/vm/forwarded-ports.ts';
import type { MachineExit } from '../../builder/vm/qemu-process.ts';

export const hasQemu = spawnSync('qemu-system-x86_64', ['--version']).error === undefined;

export interface TestVmOptions extends Partial<
  Pick<
    VmOptions,
    'architecture' | 'firmware' | 'memoryMb' | 'cpus' | 'persistDirectory' | 'extraDiskBytes' | 'directBoot'
  >
> {
  /** Default: CHATMAIL_TEST_ACCEL, else tcg, which works everywhere and the same. */
  readonly accelerator?: Accelerator;
  /** Also ends every wait. */
  readonly signal?: AbortSignal;
}

export interface TestVm extends AsyncDisposable {
  readonly vm: Vm;
  readonly host: string;
  readonly ports: ServicePorts;
  /** What the guest wrote to its console so far. */
  readonly text: string;
  /** Where the console is now: give it to waitForConsole as `from` to see only what comes. */
  readonly position: number;
  /** Waits for text on the console, from the start unless told otherwise; default 120 s. */
  waitForConsole(
    pattern: RegExp,
    options?: { readonly timeoutMs?: number; readonly from?: number },
  ): Promise<RegExpExecArray>;
  /** Waits until SMTP and IMAP answer; default 300 s. */
  waitForRelay(timeoutMs?: number): Promise<void>;
  /** Power button, and the guest switches itself off; default 60 s. */
  powerOff(timeoutMs?: number): Promise<MachineExit>;
  /** Reset button. */
  reboot(): Promise<void>;
  /** Pulls the plug. */
  kill(): Promise<MachineExit>;
}

/** Starts a machine from `image`, which is not altered. Everything it wrote is in the error when a wait fails. */
export async function startTestVm(image: string, options: TestVmOptions = {}): Promise<TestVm> {
  const { signal = new AbortController().signal, ...rest } = options;
  const vm = await startVm(
    {
      architecture: 'x86_64',
      accelerator: testAccelerator(),
      memoryMb: 1024,
      cpus: 2,
      extraDiskBytes: 1024 * 1024 * 1024,
      hostAddress: '127.0.0.1',
      // Far from what a developer runs beside the tests.
      portOffset: 12_000,
      ...rest,
      image,
      cacheDirectory: join(tmpdir(), 'chatmail-test-cache'),
      host: { platform: process.platform, env: process.env },
      clock: () => new Date(),
    },
    signal,
  );
  const { machine } = vm;
  const within = (timeoutMs: number) => AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  return {
    vm,
    host: vm.hostAddress,
    ports: vm.ports,
    get text() {
      return machine.console.text;
    },
    get position() {
      return machine.console.position;
    },
    async waitForConsole(pattern, { timeoutMs = 120_000, from = 0 } = {}) {
      try {
        return await machine.console.waitFor(pattern, { signal: within(timeoutMs), from });
      } catch (error) {
        const tail = machine.console.lastLines(60).join('\n');
        throw new Error(`The guest did not say ${pattern} within ${timeoutMs} ms:\n${tail}`, {
          cause: error,
        });
      }
    },
    waitForRelay: async (timeoutMs = 300_000) => void (await waitForRelay(vm, { timeoutMs, signal })),
    powerOff: (timeoutMs = 60_000) => machine.powerDown({ timeoutMs, signal }),
    reboot: () => machine.reset(),
    kill: () => machine.kill(),
    [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose](),
  };
}

function testAccelerator(): Accelerator {
  const wanted = process.env['CHATMAIL_TEST_ACCEL'];
  return wanted === 'kvm' || wanted === 'hvf' || wanted === 'whpx' ? wanted : 'tcg';
}
