/**
 * What to do with the DATA partition. It holds people's mail, so formatting needs proof that there never
 * was anything: the mark in its GPT entry is missing, and it starts with nothing but zeros. "It does not
 * mount" is no proof. Pure.
 */
import { dataFormattedAttribute } from '../contract/disk-layout.ts';

/**
 * GPT attribute bit 49 on DATA: formatting has begun. Set while the partition was known to be empty, so a
 * power cut during mke2fs leaves neither a filesystem nor a riddle.
 */
export const dataFormattingAttribute = 1n << 49n;

/** So much of the partition is looked at: the superblock, and where FAT, XFS, LUKS, btrfs … have theirs. */
export const emptyProofBytes = 1024 * 1024;

export interface DataEvidence {
  /** Attributes of its GPT entry. */
  readonly attributes: bigint;
  /** The first `emptyProofBytes` are zeros. */
  readonly startsWithZeros: boolean;
  readonly hasExt4: boolean;
}

export type DataDecision =
  | { readonly kind: 'format' }
  /** fsck and mount; `mark`: the entry does not say yet that it is formatted. */
  | { readonly kind: 'check'; readonly mark: boolean }
  | { readonly kind: 'refuse'; readonly problem: string; readonly fix: string };

export function decideData({ attributes, startsWithZeros, hasExt4 }: DataEvidence): DataDecision {
  // Marked: mail may be there. e2fsck looks for a spare superblock by itself when the first one is gone.
  if ((attributes & dataFormattedAttribute) !== 0n) return { kind: 'check', mark: false };
  if ((attributes & dataFormattingAttribute) !== 0n || startsWithZeros) return { kind: 'format' };
  if (hasExt4) return { kind: 'check', mark: true };
  return {
    kind: 'refuse',
    problem: 'The DATA partition has never been used by this system, yet it is not empty',
    fix: 'If nothing on this disk is needed any more, erase it and write the image again',
  };
}
