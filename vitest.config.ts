import { defineConfig } from 'vitest/config';

/**
 * Three projects: `fast` needs nothing but Node; `oracle` holds our bytes against foreign tools
 * (unsquashfs, fsck.fat, sgdisk …); `vm` needs root, and starts namespaces and QEMU machines.
 */
const project = (name: string, include: string[], testTimeout: number) => ({
  test: { name, include, exclude: ['dist/**', 'node_modules/**'], testTimeout, hookTimeout: testTimeout },
});

export default defineConfig({
  test: {
    projects: [
      project('fast', ['test/**/*.test.ts'], 20_000),
      project('oracle', ['test/**/*.oracle.ts'], 180_000),
      project('vm', ['test/**/*.vm.ts'], 1_200_000),
    ],
    coverage: {
      provider: 'v8',
      include: ['builder/**/*.ts', 'appliance/**/*.ts', 'images/**/*.ts'],
      reporter: ['text-summary'],
    },
  },
});
