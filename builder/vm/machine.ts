/**
 * QEMU's command line for one machine: pure. The guest sees a modern PC (q35) or QEMU's arm64 `virt`
 * machine with virtio devices only, a serial console, a watchdog, and a network of its own behind QEMU's
 * user-mode NAT, of which single ports are forwarded.
 */

export type Architecture = 'x86_64' | 'aarch64';
export type Accelerator = 'kvm' | 'hvf' | 'whpx' | 'tcg';
export type Firmware =
  | { readonly kind: 'bios' }
  /** `split` firmware is mapped as flash; a flat one is given by -bios. */
  | { readonly kind: 'uefi'; readonly codePath: string; readonly load: 'pflash' | 'bios' };

export interface PortForward {
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface MachineConfig {
  readonly architecture: Architecture;
  readonly accelerator: Accelerator;
  readonly firmware: Firmware;
  readonly disk: {
    readonly path: string;
    readonly format: 'raw' | 'qcow2';
    /** Writes are thrown away at the end. */
    readonly snapshot?: boolean;
  };
  readonly memoryMb: number;
  readonly cpus: number;
  readonly forwards: readonly PortForward[];
  /** QEMU connects here with its machine protocol, and with the guest's serial port. */
  readonly qmp: Endpoint;
  readonly console: Endpoint;
  /** Boots a kernel directly instead of what is on the disk. */
  readonly directBoot?:
    | { readonly kernel: string; readonly initrd: string; readonly commandLine: string }
    | undefined;
}

/** Arguments for `qemu-system-<architecture>`. */
export function machineArguments(config: MachineConfig): string[] {
  const { architecture, accelerator, firmware, disk, directBoot } = config;
  const x86 = architecture === 'x86_64';
  const options: (readonly [string, string])[] = [
    ['-name', 'chatmail-relay'],
    ['-machine', x86 ? 'q35,sata=off' : 'virt'],
    ['-accel', accelerator],
    ['-cpu', cpuModel(architecture, accelerator)],
    ['-smp', String(config.cpus)],
    ['-m', `${config.memoryMb}M`],
    ['-display', 'none'],
    ...firmwareOptions(firmware),
    ['-chardev', socketOption('console', config.console)],
    ['-serial', 'chardev:console'],
    ['-chardev', socketOption('qmp', config.qmp)],
    ['-mon', 'chardev=qmp,mode=control'],
    [
      '-drive',
      [
        `if=none,id=disk,file=${escapeOption(disk.path)},format=${disk.format},discard=unmap`,
        ...(disk.snapshot ? ['snapshot=on'] : []),
      ].join(','),
    ],
    ['-device', 'virtio-blk-pci,drive=disk,bootindex=1'],
    ['-netdev', ['user,id=net', ...config.forwards.map(forwardOption)].join(',')],
    // No option ROM: the guest is never to boot from the network.
    ['-device', 'virtio-net-pci,netdev=net,romfile='],
    ['-device', 'virtio-rng-pci'],
  ];
  if (x86) options.push(['-device', 'i6300esb'], ['-action', 'watchdog=reset']);
  if (directBoot !== undefined) {
    options.push(
      ['-kernel', directBoot.kernel],
      ['-initrd', directBoot.initrd],
      ['-append', directBoot.commandLine],
    );
  }
  return ['-nodefaults', '-no-user-config', ...options.flat()];
}

/**
 * The host's own processor where it runs the guest; under emulation everything QEMU can do, but cmpxchg16b,
 * with which QEMU 7.2 was seen to corrupt Linux guests (3 of 16 boots; without it 0 of 20).
 */
function cpuModel(architecture: Architecture, accelerator: Accelerator): string {
  if (accelerator === 'tcg') return architecture === 'x86_64' ? 'max,-cx16' : 'cortex-a72';
  // Windows' hypervisor interface refuses some of the features that `host` stands for.
  return accelerator === 'whpx' ? 'qemu64' : 'host';
}

function firmwareOptions(firmware: Firmware): (readonly [string, string])[] {
  if (firmware.kind === 'bios') return [];
  // Read-only and without a store of variables: the boot loader counts on the disk, not in the firmware.
  return firmware.load === 'pflash'
    ? [['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${escapeOption(firmware.codePath)}`]]
    : [['-bios', firmware.codePath]];
}

function socketOption(id: string, { host, port }: Endpoint): string {
  return `socket,id=${id},host=${host},port=${port}`;
}

function forwardOption({ hostAddress, hostPort, guestPort }: PortForward): string {
  return `hostfwd=tcp:${hostAddress}:${hostPort}-:${guestPort}`;
}

/** In QEMU's option lists a comma in a value is written twice. */
function escapeOption(value: string): string {
  return value.replaceAll(',', ',,');
}
