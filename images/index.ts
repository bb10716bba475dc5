import type { Target } from './target.ts';
import { rpiArm64 } from './rpi-arm64.ts';
import { vmArm64 } from './vm-arm64.ts';
import { vmX86 } from './vm-x86_64.ts';

/** Every target there is, by name. The first is the default. */
export const targets: readonly Target[] = [vmX86, vmArm64, rpiArm64];
