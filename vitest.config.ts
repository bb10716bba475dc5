import { defineConfig } from 'vitest/config';

/**
 * Three projects: `fast` needs nothing but Node; `oracle` holds our bytes against foreign tools
 * (unsquashfs, fsck.fat, sgdisk …); `vm` needs root, and starts namespaces and QEMU machines. They run one
 * after another, the last two file by file: machines that share two cores with other tests miss deadlines.
 */
const project = (name: string, ending: string, timeoutMs: number, groupOrder: number) => ({
  test: {
    name,
    include: [`test/**/*.${ending}.ts`],
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    fileParallelism: groupOrder === 0,
    sequence: { groupOrder },
  },
});

export default defineConfig({
  test: {
    projects: [
      project('fast', 'test', 20_000, 0),
      project('oracle', 'oracle', 180_000, 1),
      project('vm', 'vm', 1_200_000, 2),
    ],
    reporters: ['default', './test/plain-summary.ts'],
    coverage: {
      provider: 'v8',
      include: ['builder/**/*.ts', 'appliance/**/*.ts', 'images/**/*.ts'],
      reporter: ['text-summary'],
    },
  },
});
