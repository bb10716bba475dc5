/** Disks of macOS, from `diskutil list -plist` and `diskutil info -plist DISK`. Pure. */
import * as v from 'valibot';
import { ProtocolError } from '../../appliance/base/errors.ts';
import { type Disk, formatSize } from './disk.ts';
import { decodePlist } from './plist.ts';

const volumeSchema = v.object({
  DeviceIdentifier: v.string(),
  Content: v.optional(v.string(), ''),
  VolumeName: v.optional(v.string(), ''),
  MountPoint: v.optional(v.string(), ''),
  Size: v.optional(v.number(), 0),
});
const wholeSchema = v.object({
  ...volumeSchema.entries,
  Partitions: v.optional(v.array(volumeSchema), []),
  APFSVolumes: v.optional(v.array(volumeSchema), []),
  APFSPhysicalStores: v.optional(v.array(v.object({ DeviceIdentifier: v.string() })), []),
});
const listSchema = v.object({ AllDisksAndPartitions: v.array(wholeSchema) });
export type DiskutilList = v.InferOutput<typeof listSchema>;

const infoSchema = v.object({
  DeviceIdentifier: v.string(),
  MediaName: v.optional(v.string(), ''),
  BusProtocol: v.optional(v.string(), ''),
  Internal: v.optional(v.boolean(), true),
  RemovableMedia: v.optional(v.boolean(), false),
  VirtualOrPhysical: v.optional(v.string(), 'Unknown'),
  OSInternalMedia: v.optional(v.boolean(), false),
  SystemImage: v.optional(v.boolean(), false),
  WritableMedia: v.optional(v.boolean(), false),
  DeviceBlockSize: v.optional(v.number(), 512),
  Size: v.optional(v.number(), 0),
  TotalSize: v.optional(v.number(), 0),
});

function decode<T extends v.GenericSchema>(schema: T, xml: string, what: string): v.InferOutput<T> {
  try {
    return v.parse(schema, decodePlist(xml));
  } catch (error) {
    throw new ProtocolError(`${what} wrote something that cannot be understood`, { cause: error });
  }
}

/** @throws ProtocolError when that is not what `diskutil list -plist` writes */
export function parseDiskutilList(xml: string): DiskutilList {
  return decode(listSchema, xml, 'diskutil list');
}

/** Whole disks worth asking about: containers made up by APFS are no disks. */
export function wholeDisks(list: DiskutilList): readonly string[] {
  return list.AllDisksAndPartitions.filter(({ APFSPhysicalStores }) => APFSPhysicalStores.length === 0).map(
    ({ DeviceIdentifier }) => DeviceIdentifier,
  );
}

/**
 * The disk that `diskutil info -plist` describes, with its volumes from `list`; null for disk images and
 * empty card readers.
 * @throws ProtocolError when that is not what diskutil writes
 */
export function parseDiskutilInfo(xml: string, list: DiskutilList): Disk | null {
  const info = decode(infoSchema, xml, 'diskutil info');
  const name = info.DeviceIdentifier;
  const sizeBytes = info.TotalSize === 0 ? info.Size : info.TotalSize;
  if (info.VirtualOrPhysical === 'Virtual' || sizeBytes === 0) return null;
  const whole = list.AllDisksAndPartitions.find(({ DeviceIdentifier }) => DeviceIdentifier === name);
  const partitions = whole?.Partitions ?? [];
  const stores = new Set([name, ...partitions.map(({ DeviceIdentifier }) => DeviceIdentifier)]);
  // An APFS container is a disk of its own that lives in a partition of this one.
  const apfsVolumes = list.AllDisksAndPartitions.filter(({ APFSPhysicalStores }) =>
    APFSPhysicalStores.some(({ DeviceIdentifier }) => stores.has(DeviceIdentifier)),
  ).flatMap(({ APFSVolumes }) => APFSVolumes);
  const volumes = [...partitions, ...apfsVolumes];
  const uses = [...(whole === undefined ? [] : [whole]), ...volumes]
    .map(({ MountPoint }) => MountPoint)
    .filter((mount) => mount !== '');
  return {
    name,
    // The raw device: its reads and writes pass by the cache, which is faster and keeps verification honest.
    path: `/dev/r${name}`,
    model: info.MediaName.trim(),
    serial: '',
    sizeBytes,
    sectorBytes: info.DeviceBlockSize,
    isRemovable: !info.OSInternalMedia && (!info.Internal || info.RemovableMedia),
    isSystem: info.SystemImage || uses.some((mount) => mount === '/' || mount.startsWith('/System/')),
    isReadOnly: !info.WritableMedia,
    uses,
    contents: volumes.map(({ Content, VolumeName, Size }) =>
      [
        Content === '' ? 'volume' : Content,
        VolumeName === '' ? '' : JSON.stringify(VolumeName),
        formatSize(Size),
      ]
        .filter((word) => word !== '')
        .join(' '),
    ),
    partNames: volumes.map(({ DeviceIdentifier }) => DeviceIdentifier),
  };
}
