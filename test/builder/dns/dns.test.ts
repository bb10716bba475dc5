/** `dns show`, `dns check` and what is wrong with a command line. */
import { mkdtemp, mkdtempDisposable, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { command } from '../../../builder/cli/commands/dns.ts';
import { parseNameServer } from '../../../builder/dns/world.ts';
import { ZoneStore } from '../../fakes/dns/http-fake.ts';
import { fakeWorld } from '../../fakes/dns/world.ts';
import { dns } from './terminal.ts';

const zone = 'example.org';
const chat = `chat.${zone}`;
let keys: string;
let store: ZoneStore;
beforeAll(async () => {
  keys = await mkdtemp(join(tmpdir(), 'keys-'));
  store = new ZoneStore([zone]);
});
afterAll(async () => {
  await rm(keys, { recursive: true, force: true });
});

const world = (frozen?: readonly string[]) =>
  fakeWorld({ baseUrl: 'http://127.0.0.1:9', store }, zone, frozen === undefined ? {} : { frozen });
const run = (...args: string[]) => dns([...args, '--keys', keys], { world: world() });
const relay = ['--domain', chat, '--ipv4', '203.0.113.5'];

describe('dns show', () => {
  test('is a zone file that explains itself, and makes the key on first use', async () => {
    const first = await run('show', ...relay);
    expect(first.exitCode).toBe(0);
    expect(first.stderr).toContain('Made a DKIM key in');
    expect(first.stdout).toContain(`; other servers bring mail here\n${chat}. 3600 IN MX 10 ${chat}.\n`);
    const again = await run('show', ...relay);
    expect(again.stderr).toBe('');
    expect(again.stdout).toBe(first.stdout);
  });

  test('is a table, or one JSON object a line', async () => {
    const table = await run('show', ...relay, '--format', 'table');
    expect(table.stdout.split('\n')[0]).toMatch(
      /^\*\s+chat\.example\.org\s+A\s+203\.0\.113\.5\s+where the relay is/,
    );
    const json = await run('show', ...relay, '--json', '--ed25519', '--tls-report', 'mailto:a@example.net');
    const records = json.events.filter(({ event }) => event === 'record');
    expect(records).toHaveLength(16);
    for (const record of records)
      expect(record).toMatchObject({ why: expect.stringMatching(/\S/), level: expect.stringMatching(/^re/) });
    expect(json.events.at(-1)).toEqual({ event: 'result', ok: true, records: 16 });
  });

  test('says of a new Ed25519 key that no relay signs with it yet', async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'keys-'));
    const show = () => dns(['show', ...relay, '--ed25519', '--keys', folder.path], { world: world() });
    const first = await show();
    expect(first.stderr).toContain('Made an Ed25519 key: a relay signs with it once');
    expect(first.stdout).toContain('opendkim-ed25519._domainkey');
    expect((await show()).stderr).toBe('');
  });

  test('never shows the private key', async () => {
    const pem = await readFile(join(keys, chat, 'dkim.pem'), 'utf8');
    const body = pem.split('\n')[1] ?? '';
    const shown = await run('show', ...relay);
    expect(shown.stdout + shown.stderr).not.toContain(body);
  });

  test('an IP-literal relay wants none, and no files either', async () => {
    const none = await run('show', '--domain', '192.0.2.1');
    expect(none.exitCode).toBe(0);
    expect(none.stderr).toContain('needs no DNS records');
    expect(await readdir(keys)).toEqual([chat]);
  });

  test('reads domain and contact from the configuration', async () => {
    const file = join(keys, 'relay.json');
    await writeFile(file, JSON.stringify({ domain: chat, adminContact: 'mailto:admin@example.net' }));
    const shown = await run('show', '--config', file, '--ipv4', '203.0.113.5');
    expect(shown.stdout).toContain(
      `_smtp._tls.${chat}. 3600 IN TXT "v=TLSRPTv1;rua=mailto:admin@example.net"`,
    );
    await rm(file);
  });
});

describe('dns check', () => {
  test('fails with every line that is missing, and succeeds when they are there', async () => {
    const missing = await run('check', ...relay);
    expect(missing.exitCode).toBe(1);
    expect(missing.stdout).toContain(`    + ${chat}. 3600 IN MX 10 ${chat}.`);
    expect(missing.stdout).toMatch(/✗ 0 of 15 records are right; \d+ errors, \d+ warnings/);
    const shown = await run('show', ...relay, '--json');
    for (const record of shown.events) {
      if (record.event !== 'record') continue;
      const { name, type, values } = record as { name: string; type: string; values: string[] };
      for (const value of values) store.add({ zone, name, type, value, ttlSec: 3600 });
    }
    const fine = await run('check', ...relay, '--json');
    // The address has no PTR here: a warning.
    expect(fine.events.filter(({ event }) => event === 'finding')).toMatchObject([{ code: 'reverse' }]);
    expect(fine.exitCode).toBe(0);
    expect((await run('check', ...relay, '--strict')).exitCode).toBe(1);
    expect((await run('check', '--domain', chat)).exitCode).toBe(0);
  });

  test('without a key here it compares the rest, and leaves no files behind', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'keys-'));
    try {
      const checked = await dns(['check', ...relay, '--keys', empty, '--json'], { world: world() });
      const findings = checked.events.filter(({ event }) => event === 'finding');
      expect(findings).toMatchObject([
        { code: 'wrong', severity: 'warning', type: 'TXT' },
        { code: 'reverse' },
      ]);
      expect(await readdir(empty)).toEqual([]);
    } finally {
      await rm(empty, { recursive: true });
    }
  });
});

describe('a wrong command line', () => {
  test.each([
    [['check'], 'No domain is given'],
    [[], 'dns what?'],
    [['shw', '--domain', chat], 'There is no "dns shw"'],
    [['show', ...relay, '--format', 'xml'], 'no format "xml"'],
    [['show', ...relay, '--yes'], '--yes belongs to "dns push"'],
    [['check', ...relay, '--provider', 'desec'], '--provider belongs to "dns push"'],
    [['push', ...relay, '--wait', 'soon'], 'not a number of seconds'],
    [['show', '--domain', 'chat example.org'], 'is not a domain'],
    [['show', '--domain', chat, '--ipv4', '203.0.113'], 'is not such an address'],
    [['show', '--domain', chat, '--ipv4', '192.168.1.5'], 'a private address'],
    [['show', '--domain', chat, '--ipv4', '100.64.0.1'], 'CGNAT'],
    [['show', '--domain', chat, '--ipv6', 'fe80::1'], 'link-local'],
    [['show', ...relay, '--acme-account', 'http://x/1'], 'ACME account'],
    [['show', ...relay, '--acme-account', 'https://x/1;b=2'], 'ACME account'],
    [['show', ...relay, '--tls-report', 'admin@example.net'], 'not an address for reports'],
    [['show', ...relay, '--tls-certificate', '/nowhere/cert.pem'], 'is not a certificate'],
    [['show', ...relay, '--nosuch'], '--nosuch'],
  ])('%j is usage: %s', async (args, text) => {
    const wrong = await run(...args);
    expect(wrong.stderr).toContain(text);
    expect(wrong.stderr).toMatch(/fix: \S/);
    expect(wrong.exitCode).toBe(2);
  });
});

describe('command', () => {
  test('its help names every provider and every credential', () => {
    for (const name of [
      'cloudflare',
      'CLOUDFLARE_API_TOKEN',
      'HCLOUD_TOKEN',
      '[AWS_SESSION_TOKEN]',
      'RFC2136_TSIG_SECRET',
      'PDNS_API_KEY',
      'OVH_CONSUMER_KEY',
    ]) {
      expect(command.help).toContain(name);
    }
  });
});

describe('parseNameServer', () => {
  test('takes addresses of both families, with a port', () => {
    expect(parseNameServer('9.9.9.9')).toEqual({ address: '9.9.9.9' });
    expect(parseNameServer('127.0.0.1:5353')).toEqual({ address: '127.0.0.1', port: 5353 });
    expect(parseNameServer('2620:fe::fe')).toEqual({ address: '2620:fe::fe' });
    expect(parseNameServer('[2620:fe::fe]:53')).toEqual({ address: '2620:fe::fe', port: 53 });
    expect(() => parseNameServer('resolver.example.org')).toThrow('not the address of a resolver');
  });
});
