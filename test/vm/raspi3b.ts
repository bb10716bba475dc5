/**
 * QEMU's Raspberry Pi 3B started from a card image. QEMU has no part of the Pi's firmware: what that would
 * do is done here, from the same files on the card, found by readers that share nothing with our writers.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempDisposable, open, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ports as guestPorts } from '../../appliance/contract/ports.ts';
import { decodeGpt } from '../../appliance/disk/gpt.ts';
import { waitForRelay } from '../../builder/run-vm.ts';
import { chooseForwardedPorts, type ServicePorts, services } from '../../builder/vm/forwarded-ports.ts';
import { openOverlay } from '../../builder/vm/overlay.ts';
import { findQemu } from '../../builder/vm/qemu-install.ts';
import { type RunningMachine, startQemu } from '../../builder/vm/qemu-process.ts';
import { readVolume } from '../builder/formats/fat/read-volume.ts';

export const hasRaspi3b = spawnSync('qemu-system-aarch64', ['--version']).error === undefined;

/** What the firmware hands over to the kernel of a card. */
export interface CardBoot {
  readonly kernel: Uint8Array;
  readonly initramfs: Uint8Array;
  readonly deviceTree: Uint8Array;
  readonly commandLine: string;
}

const sectorBytes = 512;

/** The files of BOOT, by path. */
export async function readCard(image: string): Promise<ReadonlyMap<string, Uint8Array>> {
  await using file = await open(image);
  const read = async (firstSector: number, sectors: number) => {
    const bytes = Buffer.alloc(sectors * sectorBytes);
    await file.read(bytes, 0, bytes.length, firstSector * sectorBytes);
    return bytes;
  };
  const { partitions } = decodeGpt(await read(1, 33), 'primary');
  const boot = partitions.find(({ name }) => name === 'BOOT');
  if (boot === undefined) throw new Error(`${image} has no partition BOOT`);
  const volume = readVolume(await read(boot.firstSector, boot.lastSector - boot.firstSector + 1));
  return new Map(volume.entries.flatMap(({ path, bytes }) => (bytes === undefined ? [] : [[path, bytes]])));
}

/** Reads config.txt as the firmware does: settings up to the first filter, and those for all boards. */
export function bootOfCard(files: ReadonlyMap<string, Uint8Array>, deviceTree: string): CardBoot {
  const file = (path: string) => {
    const bytes = files.get(path);
    if (bytes === undefined) throw new Error(`There is no ${path} on the card`);
    return bytes;
  };
  let isForAll = true;
  const settings = new Map<string, string>();
  for (const line of Buffer.from(file('config.txt')).toString('latin1').split(/\r?\n/)) {
    const filter = /^\[(.*)\]$/.exec(line)?.[1];
    if (filter !== undefined) isForAll = filter === 'all';
    const [, name, value] = /^([a-z0-9_]+)[= ](.*)$/.exec(line) ?? [];
    if (isForAll && name !== undefined && value !== undefined) settings.set(name, value);
  }
  const setting = (name: string) => {
    const value = settings.get(name);
    if (value === undefined) throw new Error(`config.txt does not say ${name}`);
    return value;
  };
  const prefix = setting('os_prefix');
  return {
    kernel: file(prefix + setting('kernel')),
    initramfs: file(prefix + setting('initramfs').replace(/ followkernel$/, '')),
    deviceTree: file(prefix + deviceTree),
    commandLine: Buffer.from(file(`${prefix}cmdline.txt`))
      .toString('latin1')
      .trim(),
  };
}

export interface Raspi3b extends AsyncDisposable {
  readonly machine: RunningMachine;
  readonly host: string;
  readonly ports: ServicePorts;
  waitForConsole(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray>;
  waitForRelay(timeoutMs: number): Promise<void>;
}

/** QEMU takes cards of such sizes only. */
function nextPowerOfTwo(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}

/** Starts it with the card in its slot and a network adapter on USB. The image is not altered. */
export async function startRaspi3b(image: string, boot: CardBoot): Promise<Raspi3b> {
  const signal = new AbortController().signal;
  await using cleanup = new AsyncDisposableStack();
  const directory = cleanup.use(await mkdtempDisposable(join(tmpdir(), 'raspi3b-'))).path;
  const path = (name: string) => join(directory, name);
  await writeFile(path('kernel'), boot.kernel);
  await writeFile(path('initramfs'), boot.initramfs);
  await writeFile(path('board.dtb'), boot.deviceTree);
  const { size } = await stat(image);
  const card = await openOverlay({ image, directory, extraBytes: nextPowerOfTwo(size) - size });
  const qemu = await findQemu('aarch64', { platform: process.platform, env: process.env }, signal);
  const host = '127.0.0.1';
  const ports = await chooseForwardedPorts({ hostAddress: host, offset: 14_000 });
  const forwards = services.map((service) => `hostfwd=tcp:${host}:${ports[service]}-:${guestPorts[service]}`);
  const machine = cleanup.use(
    await startQemu(
      qemu.path,
      ({ qmp, console }) => {
        const options: readonly (readonly [string, string])[] = [
          ['-machine', 'raspi3b'],
          ['-accel', 'tcg'],
          ['-display', 'none'],
          ['-kernel', path('kernel')],
          ['-initrd', path('initramfs')],
          ['-dtb', path('board.dtb')],
          ['-append', boot.commandLine],
          ['-drive', `if=sd,file=${card.path},format=qcow2`],
          // The first serial port is Bluetooth's, the second the console.
          ['-serial', 'null'],
          ['-chardev', `socket,id=console,host=${console.host},port=${console.port}`],
          ['-serial', 'chardev:console'],
          ['-chardev', `socket,id=qmp,host=${qmp.host},port=${qmp.port}`],
          ['-mon', 'chardev=qmp,mode=control'],
          ['-netdev', ['user,id=net', ...forwards].join(',')],
          ['-device', 'usb-net,netdev=net'],
        ];
        return ['-nodefaults', '-no-user-config', ...options.flat()];
      },
      signal,
    ),
  );
  const kept = cleanup.move();
  return {
    machine,
    host,
    ports,
    async waitForConsole(pattern, timeoutMs) {
      try {
        return await machine.console.waitFor(pattern, { signal: AbortSignal.timeout(timeoutMs), from: 0 });
      } catch (error) {
        const tail = machine.console.lastLines(60).join('\n');
        throw new Error(`The guest did not say ${pattern} within ${timeoutMs} ms:\n${tail}`, {
          cause: error,
        });
      }
    },
    waitForRelay: async (timeoutMs) =>
      void (await waitForRelay({ machine, hostAddress: host, ports }, { timeoutMs, signal })),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
