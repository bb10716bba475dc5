/** Disks of Linux, from lsblk(8) of util-linux 2.33 (2018) or newer. Pure. */
import * as v from 'valibot';
import { ProtocolError } from '../../appliance/base/errors.ts';
import { type Disk, formatSize } from './disk.ts';

const columns = [
  'NAME',
  'PATH',
  'TYPE',
  'SIZE',
  'VENDOR',
  'MODEL',
  'SERIAL',
  'TRAN',
  'RM',
  'HOTPLUG',
  'RO',
  'LOG-SEC',
  'MOUNTPOINT',
  'FSTYPE',
  'LABEL',
  'PARTLABEL',
] as const;

/** MOUNTPOINTS came with 2.37 only; one mount point is enough to refuse a disk. */
export const lsblkArguments = ['--json', '--bytes', '--output', columns.join(',')] as const;

/** util-linux before 2.33 wrote numbers and booleans as text, and some distributions still do. */
const flag = v.pipe(
  v.optional(v.nullable(v.union([v.boolean(), v.picklist(['0', '1'])])), false),
  v.transform((value) => value === true || value === '1'),
);
const text = v.pipe(
  v.optional(v.nullable(v.string()), ''),
  v.transform((value) => (value ?? '').trim()),
);
const size = v.pipe(
  v.optional(v.nullable(v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,16}$/))])), 0),
  v.transform((value) => Number(value ?? 0)),
);
const fields = {
  name: v.string(),
  path: v.string(),
  type: v.string(),
  size,
  vendor: text,
  model: text,
  serial: text,
  tran: text,
  rm: flag,
  hotplug: flag,
  ro: flag,
  'log-sec': size,
  mountpoint: text,
  fstype: text,
  label: text,
  partlabel: text,
};
type Device = v.InferOutput<v.ObjectSchema<typeof fields, undefined>> & { readonly children?: Device[] };
const deviceSchema: v.GenericSchema<unknown, Device> = v.object({
  ...fields,
  children: v.exactOptional(v.array(v.lazy(() => deviceSchema))),
});
const outputSchema = v.object({ blockdevices: v.array(deviceSchema) });

/** Places that only the running system mounts. */
const systemMounts = /^(\/|\/boot|\/boot\/.*|\/efi|\/usr|\/var|\/home|\/nix|\/nix\/.*|\/sysroot|\[SWAP\])$/;
/** A live system runs from its stick. */
const liveMounts = /^(\/run\/live\/|\/run\/initramfs|\/cdrom|\/run\/archiso)/;

/**
 * Every disk in `json`, whatever may be written to it; drives without a card are left out.
 * @throws ProtocolError when that is not what lsblk writes
 */
export function parseLsblk(json: string): readonly Disk[] {
  let output: v.InferOutput<typeof outputSchema>;
  try {
    output = v.parse(outputSchema, JSON.parse(json));
  } catch (error) {
    throw new ProtocolError('lsblk wrote something that cannot be understood', { cause: error });
  }
  return output.blockdevices.filter(({ type, size: bytes }) => type === 'disk' && bytes > 0).map(toDisk);
}

function toDisk(device: Device): Disk {
  const parts = descendants(device);
  const mounts = [device, ...parts].map(({ mountpoint }) => mountpoint).filter((mount) => mount !== '');
  // A partition inside an open LUKS volume, LVM group or RAID is in use, mounted or not.
  const holders = parts.filter(({ type }) => type !== 'part').map(({ type, name }) => `${type} ${name}`);
  return {
    name: device.name,
    path: device.path,
    model: [device.vendor, device.model].filter((word) => word !== '' && !word.startsWith('0x')).join(' '),
    serial: device.serial,
    sizeBytes: device.size,
    sectorBytes: device['log-sec'],
    isRemovable: device.rm || device.hotplug || device.tran === 'usb' || device.tran === 'mmc',
    isSystem: mounts.some((mount) => systemMounts.test(mount) || liveMounts.test(mount)),
    isReadOnly: device.ro,
    uses: [...mounts, ...holders],
    contents: (parts.length > 0 ? parts : [device]).flatMap(describe),
    partNames: parts.map(({ name }) => name),
  };
}

function descendants(device: Device): Device[] {
  return (device.children ?? []).flatMap((child) => [child, ...descendants(child)]);
}

function describe({ type, fstype, label, partlabel, size: bytes }: Device): string[] {
  const name = label === '' ? partlabel : label;
  if (type === 'disk' && fstype === '') return [];
  const words = [fstype === '' ? 'partition' : fstype, name === '' ? '' : JSON.stringify(name)];
  return [[...words, formatSize(bytes)].filter((word) => word !== '').join(' ')];
}
