/** The BOOT partition as a FAT32 volume, with SYSLINUX installed where it is wanted: pure. */
import { bootPaths } from '../../appliance/contract/boot-layout.ts';
import { diskLayout, partitionNames } from '../../appliance/contract/disk-layout.ts';
import { encodeSyslinuxAdv } from '../../appliance/disk/syslinux-adv.ts';
import { fatAttributes } from '../formats/fat/directory.ts';
import { type FatPlan, locateFile, planFat32, replaceFile } from '../formats/fat/plan.ts';
import { installSyslinux, type SyslinuxPieces } from '../formats/syslinux.ts';
import { bytesContent, type TreeEntry } from '../formats/tree.ts';
import type { DiskPlan } from './plan-disk.ts';

/**
 * @param entries what `bootFiles` gives
 * @throws RangeError when they do not fit
 */
export function planBootPartition(
  entries: readonly TreeEntry[],
  disk: DiskPlan,
  syslinux?: SyslinuxPieces,
): FatPlan {
  // As the installer has it: this file must never move, and people need not see it.
  const unmovable = fatAttributes.readOnly | fatAttributes.hidden | fatAttributes.system;
  const plan = planFat32(entries, {
    sizeBytes: disk.boot.sizeBytes,
    clusterBytes: diskLayout.bootClusterBytes,
    volumeId: disk.volumeId,
    label: partitionNames.boot,
    hiddenSectors: disk.boot.firstSector,
    attributes: new Map([[bootPaths.ldlinuxSys, unmovable]]),
  });
  if (syslinux === undefined) return plan;
  const { firstSector, sectorCount } = locateFile(plan, bootPaths.ldlinuxSys);
  const { bootSector, ldlinuxSys } = installSyslinux(syslinux, {
    sectors: Array.from({ length: sectorCount }, (_, index) => firstSector + index),
    directory: `/${bootPaths.syslinux}`,
    adv: encodeSyslinuxAdv({}),
    fatBootSector: plan.bootSector,
  });
  return { ...replaceFile(plan, bootPaths.ldlinuxSys, bytesContent(ldlinuxSys)), bootSector };
}
