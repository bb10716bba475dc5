/** The dns verbs against a small internet of real servers: hidden primary, secondary, validating resolver. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasProgram, updateKey } from '../../fakes/dns/authoritative.ts';
import { type SmallInternet, startSmallInternet } from '../../fakes/dns/internet.ts';
import { dns } from './terminal.ts';

const tools = hasProgram('knotd') && hasProgram('unbound');

describe.skipIf(!tools && process.env.CI === undefined)('dns on a small internet', () => {
  let internet: SmallInternet;
  let keys: string;
  const run = (args: string[], typed?: string) =>
    dns([...args, '--keys', keys], {
      world: internet.world,
      env: {
        RFC2136_NAMESERVER: internet.hiddenPrimary,
        RFC2136_TSIG_KEY: updateKey.name,
        RFC2136_TSIG_SECRET: updateKey.secret,
      },
      ...(typed === undefined ? {} : { typed }),
    });
  const relay = ['--domain', 'chat.example.org'];

  beforeAll(async () => {
    internet = await startSmallInternet();
    keys = await mkdtemp(join(tmpdir(), 'keys-'));
  });
  afterAll(async () => {
    await internet?.close();
    await rm(keys, { recursive: true, force: true });
  });

  test('a check of an empty zone names every record that is missing', async () => {
    const shown = await run(['show', ...relay, '--ipv4', '203.0.113.5', '--json']);
    const wanted = shown.events.filter(({ event }) => event === 'record');
    const checked = await run(['check', ...relay, '--ipv4', '203.0.113.5', '--json']);
    expect(checked.exitCode).toBe(1);
    const missing = checked.events.filter(({ event, code }) => event === 'finding' && code === 'missing');
    expect(missing.map(({ name, type }) => `${String(name)} ${String(type)}`).sort()).toEqual(
      wanted.map(({ name, type }) => `${String(name)} ${String(type)}`).sort(),
    );
  });

  test('a push through the hidden primary is seen on the public servers, and the check is content', async () => {
    const pushed = await run(['push', ...relay, '--ipv4', '203.0.113.5', '--yes', '--json']);
    expect(pushed.stderr).toBe('');
    expect(pushed.events.at(-1)).toMatchObject({ event: 'result', ok: true, visible: true, left: 0 });
    expect(pushed.exitCode).toBe(0);
    const checked = await run(['check', ...relay, '--json']);
    expect(checked.events.filter(({ event }) => event === 'finding')).toEqual([]);
    expect(checked.exitCode).toBe(0);
  });

  test.skipIf(!hasProgram('dig') && process.env.CI === undefined)(
    "chatmail/relay's own check would pass: dig says each wanted value, letter by letter",
    async () => {
      const shown = await run(['show', ...relay, '--json']);
      const records = shown.events.filter(({ event }) => event === 'record');
      expect(records).toHaveLength(14);
      const { address, port } = internet.secondary;
      for (const { name, type, values } of records as { name: string; type: string; values: string[] }[]) {
        const args = [`@${address}`, '-p', String(port), '-r', '-q', name, '-t', type, '+short'];
        expect(execFileSync('dig', args, { encoding: 'utf8' }).trim().split('\n')).toEqual(values);
      }
    },
  );

  test('a second push has nothing to do', async () => {
    const again = await run(['push', ...relay, '--yes', '--json']);
    expect(again.events.at(-1)).toEqual({ event: 'result', ok: true, changed: 0, left: 0 });
    expect(again.exitCode).toBe(0);
  });

  test('undo leaves the zone as it was before the first push', async () => {
    const undone = await run(['push', ...relay, '--undo', '--yes', '--json']);
    expect(undone.exitCode).toBe(0);
    expect(await internet.secondary.truth('chat.example.org', 'A')).toBeNull();
    expect(await internet.secondary.truth('_dmarc.chat.example.org', 'TXT')).toBeNull();
    const nothing = await run(['push', ...relay, '--undo', '--yes']);
    expect(nothing.exitCode).toBe(2);
    expect(nothing.stderr).toContain('Nothing was pushed');
  });

  test('a zone with wrong signatures is called that', async () => {
    const checked = await run(['check', '--domain', 'chat.bogus.org']);
    expect(checked.exitCode).toBe(1);
    expect(checked.stderr).toContain('DNSSEC signatures of bogus.org are wrong');
    expect(checked.stderr).toContain('DS record');
  });

  test('a domain that is not delegated, and one whose servers do not serve it, are told apart', async () => {
    const absent = await run(['check', '--domain', 'chat.absent.org']);
    expect(absent.stderr).toContain('absent.org does not exist in DNS');
    const lame = await run(['check', '--domain', 'chat.lame.org']);
    expect(lame.stderr).toContain('get no answer about chat.lame.org');
  });
});
