import { describe, expect, test } from 'vitest';
import { type MachineConfig, machineArguments } from '../../../builder/vm/machine.ts';

const config: MachineConfig = {
  architecture: 'x86_64',
  accelerator: 'tcg',
  firmware: { kind: 'bios' },
  disk: { path: '/tmp/disk.qcow2', format: 'qcow2' },
  memoryMb: 1024,
  cpus: 2,
  forwards: [{ hostAddress: '127.0.0.1', hostPort: 2025, guestPort: 25 }],
  qmp: { host: '127.0.0.1', port: 1234 },
  console: { host: '127.0.0.1', port: 1235 },
};

const valueOf = (args: readonly string[], name: string) => args[args.indexOf(name) + 1];

describe('machineArguments', () => {
  test('an emulated x86-64 machine goes without cmpxchg16b', () => {
    const args = machineArguments(config);
    expect(valueOf(args, '-cpu')).toBe('max,-cx16');
    expect(valueOf(args, '-machine')).toBe('q35,sata=off');
    expect(args).not.toContain('-kernel');
  });

  test('an accelerated machine has the host’s processor', () => {
    expect(valueOf(machineArguments({ ...config, accelerator: 'kvm' }), '-cpu')).toBe('host');
  });

  test('ports are forwarded from one address of the host only', () => {
    expect(valueOf(machineArguments(config), '-netdev')).toBe('user,id=net,hostfwd=tcp:127.0.0.1:2025-:25');
  });

  test('commas in paths are doubled', () => {
    const args = machineArguments({
      ...config,
      firmware: { kind: 'uefi', codePath: '/a,b/code.fd', load: 'pflash' },
      disk: { path: '/x,y.img', format: 'raw', snapshot: true },
    });
    const drives = args.filter((_, index) => args[index - 1] === '-drive');
    expect(drives).toEqual([
      'if=pflash,unit=0,format=raw,readonly=on,file=/a,,b/code.fd',
      'if=none,id=disk,file=/x,,y.img,format=raw,discard=unmap,snapshot=on',
    ]);
  });

  test('an arm64 machine is started by its firmware and has no PC watchdog', () => {
    const args = machineArguments({
      ...config,
      architecture: 'aarch64',
      firmware: { kind: 'uefi', codePath: '/QEMU_EFI.fd', load: 'bios' },
    });
    expect(valueOf(args, '-machine')).toBe('virt');
    expect(valueOf(args, '-bios')).toBe('/QEMU_EFI.fd');
    expect(valueOf(args, '-cpu')).toBe('cortex-a72');
    expect(args).not.toContain('i6300esb');
  });
});
