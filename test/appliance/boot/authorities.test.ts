import { mkdtempDisposable, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeAuthorities } from '../../../appliance/boot/authorities.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';

const pem = (name: string) => `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----`;

describe('writeAuthorities', () => {
  test('joins the public authorities and the configured ones, for everybody to read', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'authorities-'));
    const [bundle, target] = [join(directory.path, 'bundle'), join(directory.path, 'target')];
    await writeFile(bundle, `${pem('public')}\n`);
    const config = parseConfig({ domain: 'chat.example.org', tls: { authorities: [pem('mine')] } });
    await writeAuthorities(config, target, bundle);
    expect(await readFile(target, 'utf8')).toBe(`${pem('public')}\n${pem('mine')}\n`);
    expect((await stat(target)).mode & 0o777).toBe(0o644);
  });
});
