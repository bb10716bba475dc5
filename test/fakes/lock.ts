/** A lock that names all that a target wants, of contents made up on the spot. */
import { createHash } from 'node:crypto';
import type { Lock, LockedPackage } from '../../builder/packages/lockfile.ts';
import { withoutPin } from '../../builder/packages/resolve.ts';
import type { Target } from '../../images/target.ts';

/** The file of a locked package: as good as random, and the same every time. */
export function fakePackageBytes(name: string, sizeBytes = 4096): Uint8Array {
  return Buffer.alloc(sizeBytes, createHash('sha256').update(name).digest());
}

export function lockFor(target: Target, sizeBytes = 4096): Lock {
  const locked = (name: string): LockedPackage => ({
    name: withoutPin(name),
    version: '1.0',
    architecture: target.architecture,
    source: name,
    sourceVersion: '1.0',
    suite: 'trixie',
    filename: `pool/main/${name}.deb`,
    sizeBytes,
    installedBytes: sizeBytes,
    sha256: createHash('sha256').update(fakePackageBytes(name, sizeBytes)).digest('hex'),
  });
  return {
    format: 1,
    architecture: target.architecture,
    suites: [{ name: 'trixie', archive: 'debian', date: '2026-01-10T10:00:00Z' }],
    packages: target.rootPackages.map(locked),
    alone: [...Object.keys(target.pickedFiles), ...target.bootPackages].map(locked),
    npm: [target.node],
  };
}
