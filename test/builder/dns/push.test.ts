/** `dns push` from the command line to a provider's fake and back. */
import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { txtValue } from '../../../appliance/contract/dns-records.ts';
import { startCloudflare } from '../../fakes/dns/cloudflare.ts';
import { startDesec } from '../../fakes/dns/desec.ts';
import { type FakeWorldOptions, fakeWorld } from '../../fakes/dns/world.ts';
import { dns, type Run } from './terminal.ts';

const zone = 'example.org';
const chat = `chat.${zone}`;
const token = 'the-token-of-the-operator';
let keys: string;
let fake: Awaited<ReturnType<typeof startDesec>>;

/** Made once: making one takes longer than everything else here. */
const dkimKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
  type: 'pkcs8',
  format: 'pem',
});

beforeEach(async () => {
  keys = await mkdtemp(join(tmpdir(), 'keys-'));
  await mkdir(join(keys, chat), { mode: 0o700 });
  await writeFile(join(keys, chat, 'dkim.pem'), dkimKey, { mode: 0o600 });
  fake = await startDesec(token, [zone]);
});
afterEach(async () => {
  await fake.close();
  await rm(keys, { recursive: true, force: true });
});

interface PushOptions extends FakeWorldOptions {
  readonly env?: Record<string, string>;
  readonly typed?: string;
}

function push(args: readonly string[] = [], options: PushOptions = {}): Promise<Run> {
  const { env = { DESEC_TOKEN: token }, typed } = options;
  const flags = ['--domain', chat, '--ipv4', '203.0.113.5', '--keys', keys];
  const world = fakeWorld(fake, zone, options);
  return dns(['push', ...flags, ...args], { env, world, ...(typed === undefined ? {} : { typed }) });
}
const writes = () => fake.requests.filter(({ method }) => method !== 'GET');
const held = (name: string, type: string) => fake.store.setOf(zone, name, type).map(({ value }) => value);
const snapshot = () =>
  fake.store.records.map(({ name, type, value, ttlSec }) => `${name} ${ttlSec} ${type} ${value}`).sort();
const add = (name: string, type: string, value: string) =>
  fake.store.add({ zone, name, type, value, ttlSec: 3600 });

describe('dns push', () => {
  test('publishes everything in three calls, waits until it is seen, and has nothing to do after', async () => {
    const first = await push(['--yes', '--json']);
    expect(first.exitCode).toBe(0);
    expect(first.stderr).toBe('');
    expect(first.events.at(-1)).toEqual({ event: 'result', ok: true, changed: 14, left: 0, visible: true });
    expect(writes().map(({ method }) => method)).toEqual(['PATCH', 'PATCH', 'PATCH']);
    expect(held(chat, 'MX')).toEqual([`10 ${chat}.`]);
    const again = await push(['--yes', '--json']);
    expect(again.exitCode).toBe(0);
    expect(writes()).toHaveLength(3);
  });

  test('without flags the addresses are those that are there', async () => {
    add(chat, 'A', '203.0.113.5');
    const flags = ['push', '--domain', chat, '--keys', keys, '--yes'];
    const run = await dns(flags, { env: { DESEC_TOKEN: token }, world: fakeWorld(fake, zone) });
    expect(run.exitCode).toBe(0);
    expect(held(chat, 'A')).toEqual(['203.0.113.5']);
    fake.store.records = [];
    const none = await dns(flags, { env: { DESEC_TOKEN: token }, world: fakeWorld(fake, zone) });
    expect(none.exitCode).toBe(2);
    expect(none.stderr).toContain('--ipv4 ADDRESS');
  });

  test('a dry run shows the difference and changes nothing, not even the journal', async () => {
    const run = await push(['--dry-run']);
    expect(run.exitCode).toBe(0);
    expect(run.stderr).toContain(`+ ${chat}. 3600 IN MX 10 ${chat}.`);
    expect(run.stderr).toContain('# other servers bring mail here');
    expect(writes()).toEqual([]);
    expect(await readdir(join(keys, chat))).toEqual(['dkim.pem']);
  });

  test('asks on a terminal, and takes only a yes for one', async () => {
    const no = await push([], { typed: '\n' });
    expect(no.exitCode).toBe(1);
    expect(no.stderr).toContain('Make 14 changes? [y/N]');
    expect(writes()).toEqual([]);
    const yes = await push([], { typed: 'yes\n' });
    expect(yes.exitCode).toBe(0);
    expect(held(chat, 'A')).toEqual(['203.0.113.5']);
  });

  test('where nobody can be asked, --yes is needed', async () => {
    const run = await push();
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('--yes');
    expect(writes()).toEqual([]);
  });

  test('leaves what it did not publish, says so, and replaces it only with --replace', async () => {
    add(chat, 'MX', '10 old.example.net.');
    add(chat, 'TXT', txtValue('google-site-verification=1'));
    add(`www.${chat}`, 'A', '192.0.2.99');
    const before = snapshot();
    const careful = await push(['--yes']);
    expect(careful.exitCode).toBe(1);
    expect(careful.stderr).toContain('(not published by us)');
    expect(careful.stderr).toContain('3 changes left undone');
    expect(held(chat, 'MX')).toEqual(['10 old.example.net.']);
    expect(held(`www.${chat}`, 'A')).toEqual(['192.0.2.99']);
    expect(held(chat, 'TXT').sort()).toEqual([
      txtValue('google-site-verification=1'),
      txtValue('v=spf1 a ~all'),
    ]);
    const whole = await push(['--yes', '--replace']);
    expect(whole.exitCode).toBe(0);
    expect(held(chat, 'MX')).toEqual([`10 ${chat}.`]);
    expect(held(`www.${chat}`, 'CNAME')).toEqual([`${chat}.`]);
    expect(held(`www.${chat}`, 'A')).toEqual([]);
    // Two pushes, two steps back.
    expect((await push(['--undo', '--yes'])).exitCode).toBe(0);
    expect(held(chat, 'MX')).toEqual(['10 old.example.net.']);
    expect((await push(['--undo', '--yes'])).exitCode).toBe(0);
    expect(snapshot()).toEqual(before);
    expect((await push(['--undo', '--yes'])).exitCode).toBe(2);
  });

  test('asks for the replacement by itself', async () => {
    add(chat, 'MX', '10 old.example.net.');
    const run = await push([], { typed: 'n\ny\n' });
    expect(run.stderr).toContain('Replace 1 record set not published by us?');
    expect(run.stderr).toContain('Make the other 13 changes?');
    expect(held(chat, 'MX')).toEqual(['10 old.example.net.']);
    expect(held(chat, 'A')).toEqual(['203.0.113.5']);
  });

  test('what it published itself it updates without asking', async () => {
    await push(['--yes']);
    const world = fakeWorld(fake, zone);
    const moved = ['push', '--domain', chat, '--ipv4', '203.0.113.66', '--keys', keys, '--yes'];
    expect((await dns(moved, { env: { DESEC_TOKEN: token }, world })).exitCode).toBe(0);
    expect(held(chat, 'A')).toEqual(['203.0.113.66']);
  });

  test('cut off in the middle, a second run completes it, and both can be taken back', async () => {
    add(chat, 'TXT', txtValue('keep'));
    const before = snapshot();
    // The first PATCH passes, the second meets a provider that is down for good.
    const world = fakeWorld(fake, zone);
    const flags = ['push', '--domain', chat, '--ipv4', '203.0.113.5', '--keys', keys, '--yes'];
    let patches = 0;
    const failing: typeof fetch = async (target, init) => {
      if (init?.method === 'PATCH' && ++patches > 1) throw new TypeError('fetch failed');
      return fetch(target, init);
    };
    const broken = { ...world, provider: { ...world.provider, fetch: failing } };
    const first = await dns(flags, { env: { DESEC_TOKEN: token }, world: broken });
    expect(first.exitCode).toBe(1);
    expect(first.stderr).toContain('cannot reach');
    expect(held(chat, 'A')).toEqual(['203.0.113.5']);
    expect(held(chat, 'MX')).toEqual([]);
    expect((await push(['--yes'])).exitCode).toBe(0);
    expect(held(chat, 'MX')).toEqual([`10 ${chat}.`]);
    await push(['--undo', '--yes']);
    await push(['--undo', '--yes']);
    expect(snapshot()).toEqual(before);
  });

  test('what is not seen in time is said, and is a failure', async () => {
    const run = await push(['--yes', '--wait', '20'], { frozen: [] });
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain('Not seen after 20 s');
    expect(run.stderr).toContain('ns1.provider.test');
  });

  test('says when the world asks other servers than the provider, and still publishes', async () => {
    const run = await push(['--yes', '--provider', 'desec', '--wait', '0'], {
      nameServers: { 'amy.ns.cloudflare.com': ['192.0.2.1'] },
    });
    expect(run.exitCode).toBe(0);
    expect(run.stderr).toContain('The world asks amy.ns.cloudflare.com, not deSEC');
  });

  test('the journal and the key are for their owner only, and hold no token', async () => {
    await push(['--yes']);
    const folder = join(keys, chat);
    for (const name of await readdir(folder)) {
      expect((await stat(join(folder, name))).mode & 0o077).toBe(0);
      expect(await readFile(join(folder, name), 'utf8')).not.toContain(token);
    }
    expect((await stat(folder)).mode & 0o077).toBe(0);
  });
});

describe('dns push, when the provider refuses', () => {
  test('a wrong token', async () => {
    const run = await push(['--yes'], { env: { DESEC_TOKEN: 'not-the-token' } });
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain('Invalid token');
    expect(run.stderr).toContain('Make a new token');
    expect(run.stderr).not.toContain('not-the-token');
  });

  test('a token without the right', async () => {
    fake.faults.push({ status: 403, json: { detail: 'You do not have permission to perform this action.' } });
    const run = await push(['--yes', '--json']);
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain('You do not have permission');
    expect(run.stderr).toContain('the right to read and write');
  });

  test('a domain that another provider serves', async () => {
    const world = fakeWorld(fake, zone);
    const other = fakeWorld({ ...fake, store: fake.store }, 'other.org', {
      nameServers: { 'amy.ns.cloudflare.com': ['192.0.2.1'] },
    });
    const run = await dns(
      [
        'push',
        '--domain',
        'chat.other.org',
        '--ipv4',
        '203.0.113.5',
        '--keys',
        keys,
        '--yes',
        '--provider',
        'desec',
      ],
      { env: { DESEC_TOKEN: token }, world: { ...world, lookup: other.lookup } },
    );
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain('chat.other.org is served by Cloudflare');
    expect(run.stderr).toContain('--provider cloudflare');
  });

  test('a provider that is down', async () => {
    fake.faults.push(...Array.from({ length: 8 }, () => 'drop' as const));
    const run = await push(['--yes']);
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain('cannot reach 127.0.0.1');
    expect(run.stderr).toContain('goes on where it stopped');
  });
});

describe('credentials', () => {
  test('are named when they are missing and nobody can be asked', async () => {
    const run = await push(['--yes', '--provider', 'desec'], { env: {} });
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('deSEC needs DESEC_TOKEN');
  });

  test('are asked for on a terminal, and not echoed', async () => {
    const run = await push(['--yes', '--provider', 'desec'], { env: {}, typed: `${token}\n` });
    expect(run.exitCode).toBe(0);
    expect(run.stderr).toContain('Token: ');
    expect(run.stderr).not.toContain(token);
  });

  test('come from a file that only its owner can read', async () => {
    const file = join(keys, 'secrets');
    await writeFile(file, `# of the operator\nexport DESEC_TOKEN="${token}"\n`, { mode: 0o600 });
    expect((await push(['--yes', '--credentials', file], { env: {} })).exitCode).toBe(0);
    await chmod(file, 0o644);
    const open = await push(['--yes', '--credentials', file], { env: {} });
    expect(open.exitCode).toBe(2);
    expect(open.stderr).toContain('others can read it');
    await writeFile(file, `DESEC_TOKN=${token}\n`);
    await chmod(file, 0o600);
    const typo = await push(['--yes', '--credentials', file], { env: {} });
    expect(typo.stderr).toContain('Line 1');
    expect(typo.stderr).not.toContain(token);
  });

  test('there is no flag for them', async () => {
    expect((await push(['--token', token])).exitCode).toBe(2);
  });

  test('of several providers need a choice, and the one that serves the domain is taken', async () => {
    const env = { DESEC_TOKEN: token, HCLOUD_TOKEN: 'another' };
    const open = await push(['--yes'], { env });
    expect(open.exitCode).toBe(2);
    expect(open.stderr).toContain('several DNS providers');
    const served = await push(['--yes'], { env, nameServers: { 'ns1.desec.io': ['192.0.2.1'] } });
    expect(served.exitCode).toBe(0);
    expect((await push(['--yes', '--provider', 'nosuch'])).stderr).toContain(
      'There is no DNS provider "nosuch"',
    );
  });
});

describe('dns push to Cloudflare', () => {
  test('takes the relay from behind the proxy, and undo puts it back there', async () => {
    const cloudflare = await startCloudflare(token, [zone]);
    try {
      cloudflare.store.add({ zone, name: chat, type: 'A', value: '203.0.113.5', ttlSec: 1, proxied: true });
      const run = (...args: string[]) =>
        dns(['push', '--domain', chat, '--ipv4', '203.0.113.5', '--keys', keys, '--yes', ...args], {
          env: { CLOUDFLARE_API_TOKEN: token },
          world: fakeWorld(cloudflare, zone),
        });
      expect((await run()).stderr).toContain('a proxy carries no mail');
      expect(cloudflare.store.setOf(zone, chat, 'A')).toMatchObject([{ proxied: true }]);
      expect((await run('--replace')).exitCode).toBe(0);
      expect(cloudflare.store.setOf(zone, chat, 'A')).toMatchObject([{ proxied: false }]);
      const undo = await dns(['push', '--domain', chat, '--keys', keys, '--yes', '--undo'], {
        env: { CLOUDFLARE_API_TOKEN: token },
        world: fakeWorld(cloudflare, zone),
      });
      expect(undo.exitCode).toBe(0);
      expect(cloudflare.store.setOf(zone, chat, 'A')).toMatchObject([{ proxied: true }]);
    } finally {
      await cloudflare.close();
    }
  });
});
