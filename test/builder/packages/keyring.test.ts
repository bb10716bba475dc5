import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { IntegrityError } from '../../../appliance/base/errors.ts';
import { debianArchiveKeys, debianSecurityKeys } from '../../../builder/packages/debian-keys.ts';
import { loadKeys, verifyClearsigned } from '../../../builder/packages/keyring.ts';
import { readRelease } from '../../../builder/packages/release.ts';
import { debianSuites } from '../../../builder/packages/suites.ts';
import { archiveDateMs, clearsign, makeSigningKey } from '../../fakes/debian-archive.ts';

/** Fetched from the archive on 2026-11-21, unchanged. */
async function realInRelease(suite: string): Promise<string> {
  const packed = await readFile(new URL(`vectors/${suite}-InRelease.gz`, import.meta.url));
  return gunzipSync(packed).toString();
}
const fetchedMs = Date.UTC(2026, 10, 21, 3);

describe('pinned Debian keys', () => {
  test('have the fingerprints of the Debian keyring, and none has expired', async () => {
    const keys = await loadKeys([...debianArchiveKeys, ...debianSecurityKeys]);
    const owners = keys.map((key) => key.getUserIDs()[0]);
    expect(owners).toEqual([
      'Debian Archive Automatic Signing Key (13/trixie) <ftpmaster@debian.org>',
      'Debian Stable Release Key (13/trixie) <debian-release@lists.debian.org>',
      'Debian Archive Automatic Signing Key (12/bookworm) <ftpmaster@debian.org>',
      'Debian Security Archive Automatic Signing Key (13/trixie) <ftpmaster@debian.org>',
      'Debian Security Archive Automatic Signing Key (12/bookworm) <ftpmaster@debian.org>',
    ]);
    for (const key of keys) {
      const expires = await key.getExpirationTime();
      expect(expires instanceof Date && expires.getTime()).toBeGreaterThan(Date.UTC(2031, 0));
    }
  });

  test('a key under another fingerprint is refused', async () => {
    const [first, second] = debianArchiveKeys;
    if (first === undefined || second === undefined) throw new Error('keys are missing');
    const mixed = { fingerprint: first.fingerprint, armored: second.armored };
    await expect(loadKeys([mixed])).rejects.toThrow(IntegrityError);
  });

  test.each([
    ['trixie', 3],
    ['trixie-updates', 2],
    ['trixie-security', 2],
  ])('the InRelease of %s has %i good signatures and reads as its suite', async (name, signatures) => {
    const suite = debianSuites.find((candidate) => candidate.name === name);
    if (suite === undefined) throw new Error(`${name} is missing`);
    const keys = await loadKeys(suite.keys);
    const subject = `InRelease of ${name}`;
    const signed = await verifyClearsigned(await realInRelease(name), { keys, subject, nowMs: fetchedMs });
    expect(signed.signedBy).toHaveLength(signatures);
    const release = readRelease(signed.text, { suite, subject, nowMs: fetchedMs });
    expect(release.files.get('main/binary-amd64/Packages.xz')?.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(release.validUntilSec === null).toBe(name === 'trixie');
    expect(release.separatesAll).toBe(false);
    expect(release.isAutomatic).toBe(true);
  });

  test('keys of the security archive do not vouch for the main archive', async () => {
    const keys = await loadKeys(debianSecurityKeys);
    const text = await realInRelease('trixie-updates');
    await expect(verifyClearsigned(text, { keys, subject: 'x', nowMs: fetchedMs })).rejects.toThrow(
      /only unknown keys \(6ed0e7b82643e131, 78dba3bc47ef2265\)/,
    );
  });
});

describe('verifyClearsigned', () => {
  test('returns exactly the signed text', async () => {
    const key = await makeSigningKey('Key');
    const text = 'Codename: trixie\n- a dash\n-----BEGIN nothing-----\nend\n';
    const armored = Buffer.from(await clearsign(text, key, new Date(archiveDateMs))).toString();
    const options = {
      keys: await loadKeys([key.pinned]),
      subject: 'x',
      nowMs: archiveDateMs + 1000,
    };
    const expected = { text, signedBy: [key.pinned.fingerprint] };
    expect(await verifyClearsigned(armored, options)).toEqual(expected);
    // Text around it is not signed, and does not count.
    const around = `Codename: forky\n\n${armored}\nCodename: forky\n`;
    expect(await verifyClearsigned(around, options)).toEqual(expected);
  });

  test('refuses every single changed character of the signed text', async () => {
    const key = await makeSigningKey('Key');
    const armored = Buffer.from(
      await clearsign('Codename: trixie\nDate: 1\n', key, new Date(archiveDateMs)),
    ).toString();
    const keys = await loadKeys([key.pinned]);
    const start = armored.indexOf('Codename');
    const end = armored.indexOf('\n-----BEGIN PGP SIGNATURE');
    for (let at = start; at < end; at++) {
      if (armored[at] === '\n') continue;
      const altered = `${armored.slice(0, at)}${armored[at] === 'x' ? 'y' : 'x'}${armored.slice(at + 1)}`;
      await expect(
        verifyClearsigned(altered, { keys, subject: 'x', nowMs: archiveDateMs + 1000 }),
      ).rejects.toThrow(IntegrityError);
    }
  });
});
