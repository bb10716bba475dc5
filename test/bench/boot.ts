/**
 * From power-on until SMTP and IMAP greet: our image from its BIOS, and Debian with systemd, Postfix and
 * Dovecot, whose kernel QEMU loads directly. The same emulated machine, turn by turn.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from '../vm/built-image.ts';
import { startTestVm, type TestVmOptions } from '../vm/qemu.ts';
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
      await ours.measure(directory, image, { ...machine, firmware: 'bios' });
      await debian.measure(directory, peer.disk, { ...machine, directBoot: peer.directBoot });
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
  async measure(directory: string, image: string, options: TestVmOptions): Promise<void> {
    const persistDirectory = await mkdtemp(join(directory, 'disk-'));
    try {
      for (const seconds of [this.firstSec, this.laterSec]) {
        const started = performance.now();
        await using vm = await startTestVm(image, { ...options, persistDirectory });
        await Promise.all(
          [vm.ports.smtp, vm.ports.imap].map((port) => greeted(port, options.signal, () => vm.text)),
        );
        seconds.push((performance.now() - started) / 1000);
        await vm.powerOff();
      }
    } finally {
      await rm(persistDirectory, { recursive: true });
    }
  }

  describeLast(): string {
    return `${format(this.firstSec.at(-1) ?? 0)} s, then ${format(this.laterSec.at(-1) ?? 0)} s`;
  }
}

/** How often a new connection is tried; the older ones keep waiting meanwhile. */
const tryEveryMs = 200;
/**
 * QEMU accepts for a guest that does not listen yet, and tells it with pauses that grow: waiting long on one
 * connection would measure those pauses.
 */
const attemptMs = 3000;

/** Waits until something on a forwarded port sends its first bytes. */
async function greeted(
  port: number,
  signal: AbortSignal | undefined,
  consoleText: () => string,
): Promise<void> {
  const stop = new AbortController();
  const deadline = performance.now() + deadlineMs;
  try {
    while (!stop.signal.aborted) {
      attempt(port, stop);
      await Promise.race([sleep(tryEveryMs, undefined, { ...(signal && { signal }) }), aborted(stop.signal)]);
      if (performance.now() > deadline) {
        throw new Error(
          `Nothing greeted on port ${port} in ${deadlineMs} ms:\n${consoleText().slice(-2000)}`,
        );
      }
    }
  } finally {
    stop.abort();
  }
}

/** Aborts `found` when bytes come. */
function attempt(port: number, found: AbortController): void {
  const socket = connect({ host: '127.0.0.1', port });
  const end = () => socket.destroy();
  socket.setTimeout(attemptMs, end);
  found.signal.addEventListener('abort', end, { once: true });
  socket.on('error', end);
  socket.once('data', () => found.abort());
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
