/**
 * Which of QEMU's accelerators really works here. That one is compiled in, that its device can be opened
 * and even that SeaBIOS and the first lines of Linux appear proves nothing: in some nested machines KVM
 * starts a guest and then hangs it. So the machine itself is the test: until our initramfs has spoken,
 * nothing on the disk has been written, and the machine can be started again without acceleration.
 */
import { access, constants, mkdir, readFile, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Accelerator, Architecture } from './machine.ts';
import type { HostSystem, Qemu } from './qemu-install.ts';

/** What templates/initramfs/init says first. */
export const initramfsStarted = /chatmail: initramfs started/;

/** From power-on to the initramfs: 2 s on a fast host, with UEFI and a busy disk some 10 s. */
export const proofTimeoutMs = 30_000;

const native: Readonly<Partial<Record<NodeJS.Platform, Accelerator>>> = {
  linux: 'kvm',
  darwin: 'hvf',
  win32: 'whpx',
};
const nativeArchitecture: Readonly<Record<string, Architecture>> = { x64: 'x86_64', arm64: 'aarch64' };

/**
 * The accelerator worth an attempt, or why there is none.
 * @param hostArchitecture process.arch
 */
export async function nativeAccelerator(options: {
  readonly architecture: Architecture;
  readonly qemu: Qemu;
  readonly host: HostSystem;
  readonly hostArchitecture: string;
}): Promise<{ readonly accelerator: Accelerator } | { readonly reason: string }> {
  const { architecture, qemu, host, hostArchitecture } = options;
  if (nativeArchitecture[hostArchitecture] !== architecture) {
    return { reason: `the image is for ${architecture}, this host is ${hostArchitecture}` };
  }
  const accelerator = native[host.platform];
  if (accelerator === undefined || !qemu.accelerators.includes(accelerator)) {
    return { reason: `this QEMU has no acceleration for ${host.platform}` };
  }
  if (accelerator === 'kvm') {
    const usable = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
      () => true,
      () => false,
    );
    if (!usable) return { reason: '/dev/kvm is not there, or you may not use it (group kvm)' };
  }
  return { accelerator };
}

/** A failure is believed for so long: kernels and hypervisors get mended. */
const rememberMs = 7 * 24 * 60 * 60 * 1000;

const memorySchema = v.strictObject({ failed: v.record(v.string(), v.number()) });

/** Remembers in the cache which accelerators failed, so that only the first run waits for them. */
export interface AcceleratorMemory {
  hasFailed(accelerator: Accelerator): Promise<boolean>;
  rememberFailure(accelerator: Accelerator): Promise<void>;
}

export function acceleratorMemory(cacheDirectory: string, qemu: Qemu, clock: () => Date): AcceleratorMemory {
  const path = join(cacheDirectory, 'accelerators.json');
  const keyOf = (accelerator: Accelerator) =>
    [accelerator, process.platform, release(), qemu.path, qemu.version].join(' ');
  const read = async (): Promise<Record<string, number>> => {
    // A cache: what cannot be read is as good as not there.
    const text = await readFile(path, 'utf8').catch(() => '{"failed":{}}');
    const result = v.safeParse(v.pipe(v.string(), v.parseJson(), memorySchema), text);
    return result.success ? result.output.failed : {};
  };
  return {
    async hasFailed(accelerator) {
      const failedAtMs = (await read())[keyOf(accelerator)];
      return failedAtMs !== undefined && Math.abs(clock().getTime() - failedAtMs) < rememberMs;
    },
    async rememberFailure(accelerator) {
      const failed = { ...(await read()), [keyOf(accelerator)]: clock().getTime() };
      await mkdir(cacheDirectory, { recursive: true });
      await writeFile(path, `${JSON.stringify({ failed }, undefined, 2)}\n`);
    },
  };
}
