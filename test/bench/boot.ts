/**
 * From power-on until SMTP and IMAP greet: our image from its BIOS, and Debian with systemd, Postfix and
 * Dovecot, whose kernel QEMU loads directly. The same emulated machine, turn by turn.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from '../vm/built-image.ts';
import { startTestVm, type TestVm, type TestVmOptions } from '../vm/qemu.ts';
import { type Bench, type BenchRow, format, median, ratio } from './bench.ts';
import { debianTools, makeDebianMachine } from './peers/debian.ts';

const rounds = 3;
const memoryMb = 1024;
const cpus = 2;
const deadlineMs = 300_000;

export const bootBench: Bench = {
  name: 'boot',
  title: 'from power-on to both greetings',
  // mmdebstrap and the owners of files in the peer's disk.
  needs: {
    root: true,
    tools: { ...debianTools, e2fsprogs: 'mke2fs', 'qemu-system-x86': 'qemu-system-x86_64' },
  },
  async run({ directory, signal, note }) {
    note('making the image and its peer');
    const { image } = await build({ domain: 'chat.example.org' }, directory);
    const peer = await makeDebianMachine(directory, signal);
    const machine = { accelerator: 'tcg', memoryMb, cpus, signal } as const;
    const [ours, debian] = [new BootTimes(), new BootTimes()];
    for (let round = 0; round < rounds; round++) {
      await ours.measure(directory, image, { ...machine, firmware: 'bios' }, (vm) => vm.powerOff());
      await debian.measure(
        directory,
        peer.disk,
        { ...machine, directBoot: peer.directBoot },
        switchDebianOff,
      );
      note(`round ${round + 1}: ours ${ours.describeLast()}, Debian ${debian.describeLast()}`);
    }
    const row = (what: string, oursSec: readonly number[], peerSec: readonly number[]): BenchRow => {
      const [own, other] = [median(oursSec), median(peerSec)];
      return {
        what: `${what}, median of ${rounds}`,
        ours: own,
        peer: other,
        peerName: 'Debian',
        unit: 's',
        goal: { text: '≥ 2× faster', met: ratio(other, own) >= 2 },
      };
    };
    return {
      rows: [
        row('first boot', ours.firstSec, debian.firstSec),
        row('later boot', ours.laterSec, debian.laterSec),
      ],
      remarks: [
        `QEMU without acceleration (TCG), ${cpus} processors, ${memoryMb} MB.`,
        'Ours comes from SeaBIOS and its own boot loader, and on first boot makes its file system and keys;',
        'Debian’s kernel is loaded by QEMU, and its packages were configured when it was built.',
      ],
    };
  },
};

class BootTimes {
  readonly firstSec: number[] = [];
  readonly laterSec: number[] = [];

  /** Boots a fresh disk, switches it off properly, and boots it again. */
  async measure(
    directory: string,
    image: string,
    options: TestVmOptions & { readonly signal: AbortSignal },
    switchOff: (vm: TestVm) => Promise<unknown>,
  ): Promise<void> {
    const persistDirectory = await mkdtemp(join(directory, 'disk-'));
    try {
      for (const seconds of [this.firstSec, this.laterSec]) {
        const started = performance.now();
        await using vm = await startTestVm(image, { ...options, persistDirectory });
        await bothGreet(vm, options.signal);
        seconds.push((performance.now() - started) / 1000);
        await switchOff(vm);
      }
    } finally {
      await rm(persistDirectory, { recursive: true });
    }
  }

  describeLast(): string {
    return `${format(this.firstSec.at(-1) ?? 0)} s, then ${format(this.laterSec.at(-1) ?? 0)} s`;
  }
}

/** The peer has no D-Bus, which saves it time at boot, and without one systemd hears no power button. */
async function switchDebianOff(vm: TestVm): Promise<void> {
  const { machine } = vm.vm;
  const signal = AbortSignal.timeout(120_000);
  await machine.console.waitFor(/login: /, { signal });
  machine.type('root\n');
  await machine.console.waitFor(/root@\S+#/, { signal });
  machine.type('poweroff\n');
  const ended = await Promise.race([machine.exited, aborted(signal)]);
  if (ended === undefined) throw new Error('The peer did not switch itself off');
}

/** Until the guest has a network, connections are answered late, so a new one is tried beside them. */
const searchEveryMs = 250;
const searchAttemptMs = 3000;
/** Then one at a time: each costs the guest a process, which would slow down what is measured. */
const attemptMs = 60_000;
const retryAfterMs = 100;

/** Waits until SMTP and IMAP have sent their first bytes. */
async function bothGreet(vm: TestVm, signal: AbortSignal): Promise<void> {
  const { smtp, imap, ssh } = vm.ports;
  const deadline = AbortSignal.timeout(deadlineMs);
  const within = AbortSignal.any([signal, deadline]);
  try {
    // Nobody listens there, so that asking costs the guest next to nothing.
    await firstAnswer(ssh, within);
    await Promise.all([smtp, imap].map((port) => greeted(port, within)));
  } catch (error) {
    if (!deadline.aborted) throw error;
    throw new Error(`No greetings in ${deadlineMs} ms:\n${vm.text.slice(-2000)}`, { cause: error });
  }
}

async function greeted(port: number, signal: AbortSignal): Promise<void> {
  while ((await attempt(port, attemptMs, signal)) !== 'greeted') {
    await sleep(retryAfterMs, undefined, { signal });
  }
}

type Outcome = 'greeted' | 'closed' | 'silent';

/** Waits until the guest takes or refuses a connection. */
async function firstAnswer(port: number, signal: AbortSignal): Promise<void> {
  const found = new AbortController();
  const answer = Promise.withResolvers<'answered'>();
  try {
    for (;;) {
      void attempt(port, searchAttemptMs, found.signal).then((outcome) => {
        if (outcome !== 'silent') answer.resolve('answered');
      });
      const pause = sleep(searchEveryMs, 'silent' as const, { signal });
      if ((await Promise.race([answer.promise, pause])) === 'answered') return;
    }
  } finally {
    found.abort();
  }
}

/** One connection: QEMU accepts it at once, and closes it when the guest refuses. */
async function attempt(port: number, waitMs: number, signal: AbortSignal): Promise<Outcome> {
  const socket = connect({ host: '127.0.0.1', port });
  const end = () => socket.destroy();
  signal.addEventListener('abort', end, { once: true });
  try {
    return await new Promise((settle) => {
      let accepted = false;
      socket.setTimeout(waitMs, () => settle('silent'));
      socket.once('connect', () => {
        accepted = true;
      });
      socket.once('data', () => settle('greeted'));
      // What comes of an error is 'close', below.
      socket.on('error', () => {});
      socket.once('end', () => settle('closed'));
      socket.once('close', () => settle(accepted ? 'closed' : 'silent'));
    });
  } finally {
    signal.removeEventListener('abort', end);
    socket.destroy();
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
