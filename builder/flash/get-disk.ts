/** Disks of Windows, from the Storage module of PowerShell (Windows 8 and newer). Pure. */
import * as v from 'valibot';
import { ProtocolError } from '../../appliance/base/errors.ts';
import { type Disk, formatSize } from './disk.ts';

/** Names instead of numbers, and always an array: ConvertTo-Json of Windows PowerShell 5.1 does neither by itself. */
export const getDiskScript = [
  "$ErrorActionPreference = 'Stop'",
  '[Console]::OutputEncoding = [Text.Encoding]::UTF8',
  '$disks = @(Get-Disk | ForEach-Object {',
  '  $number = $_.Number',
  '  $volumes = @(Get-Partition -DiskNumber $number -ErrorAction SilentlyContinue | ForEach-Object {',
  '    $volume = $_ | Get-Volume -ErrorAction SilentlyContinue',
  '    [pscustomobject]@{ Letter = ([string]$_.DriveLetter).Trim([char]0); Type = [string]$_.Type;' +
    ' Size = $_.Size; FileSystem = [string]$volume.FileSystem; Label = [string]$volume.FileSystemLabel } })',
  '  [pscustomobject]@{ Number = $number; FriendlyName = [string]$_.FriendlyName;' +
    ' SerialNumber = [string]$_.SerialNumber; Size = $_.Size; LogicalSectorSize = $_.LogicalSectorSize; BusType = [string]$_.BusType;' +
    ' IsSystem = [bool]$_.IsSystem; IsBoot = [bool]$_.IsBoot; IsReadOnly = [bool]$_.IsReadOnly;' +
    ' Volumes = $volumes } })',
  'ConvertTo-Json -InputObject $disks -Depth 4 -Compress',
].join('\n');

const volumeSchema = v.object({
  Letter: v.string(),
  Type: v.string(),
  Size: v.number(),
  FileSystem: v.string(),
  Label: v.string(),
});
const diskSchema = v.object({
  Number: v.number(),
  FriendlyName: v.string(),
  SerialNumber: v.string(),
  Size: v.number(),
  LogicalSectorSize: v.number(),
  BusType: v.string(),
  IsSystem: v.boolean(),
  IsBoot: v.boolean(),
  IsReadOnly: v.boolean(),
  Volumes: v.array(volumeSchema),
});

/** MSFT_Disk.BusType: what can be unplugged. */
const removableBuses: ReadonlySet<string> = new Set(['USB', 'SD', 'MMC', '1394']);

/**
 * Every disk in what `getDiskScript` writes; drives without a card are left out.
 * @throws ProtocolError when it is something else
 */
export function parseGetDisk(json: string): readonly Disk[] {
  let disks: v.InferOutput<typeof diskSchema>[];
  try {
    // PowerShell 5.1 writes a byte order mark where its output encoding has one.
    disks = v.parse(v.array(diskSchema), JSON.parse(json.replace(/^\uFEFF/, '')));
  } catch (error) {
    throw new ProtocolError('PowerShell wrote something that cannot be understood', { cause: error });
  }
  return disks.filter(({ Size }) => Size > 0).map(toDisk);
}

function toDisk(disk: v.InferOutput<typeof diskSchema>): Disk {
  const letters = disk.Volumes.map(({ Letter }) => Letter).filter((letter) => letter !== '');
  return {
    name: `PhysicalDrive${disk.Number}`,
    path: `\\\\.\\PhysicalDrive${disk.Number}`,
    model: disk.FriendlyName.trim(),
    serial: disk.SerialNumber.trim(),
    sizeBytes: disk.Size,
    sectorBytes: disk.LogicalSectorSize,
    isRemovable: removableBuses.has(disk.BusType.toUpperCase()),
    isSystem: disk.IsSystem || disk.IsBoot,
    isReadOnly: disk.IsReadOnly,
    uses: letters.map((letter) => `${letter}:`),
    contents: disk.Volumes.map(({ Type, Size, FileSystem, Label }) =>
      [FileSystem === '' ? Type : FileSystem, Label === '' ? '' : JSON.stringify(Label), formatSize(Size)]
        .filter((word) => word !== '')
        .join(' '),
    ),
    partNames: letters.map((letter) => `${letter}:`),
  };
}
