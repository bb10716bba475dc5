import { describe, expect, test } from 'vitest';
import { renderSbom, type SbomComponent } from '../../../builder/rootfs/sbom.ts';

const subject = {
  name: 'chatmail-build',
  version: '1.2.3',
  target: 'vm-x86_64',
  rootSha256: 'ab',
  timestamp: '2026-01-01T00:00:00Z',
};
const components: SbomComponent[] = [
  { ecosystem: 'npm', name: '@scope/pkg', version: '1.0.0', license: 'MIT' },
  {
    ecosystem: 'deb',
    name: 'libstdc++6',
    version: '1:2+b1',
    architecture: 'amd64',
    sha256: 'cd',
    source: { name: 'gcc-14', version: '2' },
  },
];

describe('renderSbom', () => {
  test('names packages by package URL, with digests and licences where known', () => {
    const document = JSON.parse(renderSbom(subject, components));
    expect(document).toMatchObject({ bomFormat: 'CycloneDX', specVersion: '1.6' });
    expect(document.components.map(({ purl }: { purl: string }) => purl)).toEqual([
      'pkg:deb/debian/libstdc%2B%2B6@1:2%2Bb1?arch=amd64&distro=debian-13&upstream=gcc-14%402',
      'pkg:npm/%40scope/pkg@1.0.0',
    ]);
    expect(document.components[0].hashes).toEqual([{ alg: 'SHA-256', content: 'cd' }]);
    expect(document.components[1].licenses).toEqual([{ expression: 'MIT' }]);
  });

  test('is the same text for the same packages in any order, and another serial number for others', () => {
    const text = renderSbom(subject, components);
    expect(renderSbom(subject, [...components].reverse())).toBe(text);
    const serial = (value: string): string => JSON.parse(value).serialNumber;
    expect(serial(renderSbom(subject, components.slice(1)))).not.toBe(serial(text));
    expect(serial(text)).toMatch(
      /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
  });
});
