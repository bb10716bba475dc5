/** `--dns PROVIDER` of the build, against a provider's fake. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { reportOf } from '../../../builder/cli/errors.ts';
import { createProgress } from '../../../builder/cli/progress.ts';
import { type BuildDnsFlags, prepareBuildDns } from '../../../builder/dns/build.ts';
import { startDesec } from '../../fakes/dns/desec.ts';
import { type FakeWorldOptions, fakeWorld } from '../../fakes/dns/world.ts';

const zone = 'example.org';
const chat = `chat.${zone}`;
const token = 'the-token-of-the-operator';
let keys: string;
let fake: Awaited<ReturnType<typeof startDesec>>;

beforeEach(async () => {
  keys = await mkdtemp(join(tmpdir(), 'keys-'));
  fake = await startDesec(token, [zone]);
});
afterEach(async () => {
  await fake.close();
  await rm(keys, { recursive: true, force: true });
});

interface Options extends FakeWorldOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly json?: boolean;
}

async function prepare(flags: BuildDnsFlags = {}, options: Options = {}) {
  const { env = { DESEC_TOKEN: token }, json = false } = options;
  const written = { stdout: '', stderr: '' };
  const sink = (name: keyof typeof written) =>
    new PassThrough().on('data', (chunk: Buffer) => (written[name] += chunk.toString()));
  const context = {
    env,
    cwd: '/',
    stdin: new PassThrough(),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: AbortSignal.timeout(30_000),
    clock: () => new Date('2026-11-20T12:00:00Z'),
  };
  const dns = await prepareBuildDns(
    flags.dns ?? 'desec',
    { domain: chat, keys, yes: true, ...flags },
    context,
    createProgress(context, json),
    fakeWorld(fake, zone, options),
  );
  return { ...dns, written };
}
const failure = (flags: BuildDnsFlags, options?: Options) =>
  prepare(flags, options).then(
    () => expect.unreachable(),
    (error: unknown) => reportOf(error),
  );
const held = (name: string, type: string) => fake.store.setOf(zone, name, type).map(({ value }) => value);
const writes = () => fake.requests.filter(({ method }) => method !== 'GET');

describe('prepareBuildDns', () => {
  test('asks the provider, and writes nothing there or here', async () => {
    const { onDevice } = await prepare({ ipv4: ['203.0.113.5'] });
    expect(onDevice).toBeNull();
    expect(fake.requests.length).toBeGreaterThan(0);
    expect(writes()).toEqual([]);
    expect(await readdir(keys)).toEqual([]);
  });

  test('knows before the build what would go wrong after it', async () => {
    const wrong = await failure({}, { env: { DESEC_TOKEN: 'not-the-token' } });
    expect(wrong).toMatchObject({ exitCode: 1, code: 'wrong-credentials' });
    expect(wrong.message).not.toContain('not-the-token');
    expect(await failure({}, { env: {} })).toMatchObject({ exitCode: 2, message: 'deSEC needs DESEC_TOKEN' });
    expect(await failure({ dns: 'godaddy' })).toMatchObject({
      exitCode: 2,
      message: 'There is no DNS provider "godaddy"',
    });
    expect(await failure({ domain: 'chat.other.org' })).toMatchObject({
      exitCode: 1,
      code: 'zone-not-found',
    });
    expect(await failure({ domain: '192.0.2.1' })).toMatchObject({ exitCode: 2, fix: 'Leave --dns out' });
    expect(await failure({ yes: false })).toMatchObject({
      exitCode: 2,
      fix: expect.stringContaining('--yes'),
    });
    expect(await failure({ wait: 'soon' })).toMatchObject({ exitCode: 2 });
    expect(await failure({ ipv4: ['10.0.0.1'] })).toMatchObject({ exitCode: 2 });
    expect(await readdir(keys)).toEqual([]);
  });

  test('publishes with the address given, and says when the name is ready', async () => {
    const dns = await prepare({ ipv4: ['203.0.113.5'] });
    expect(await dns.publish()).toBe(true);
    expect(held(chat, 'A')).toEqual(['203.0.113.5']);
    expect(held(chat, 'MX')).toEqual([`10 ${chat}.`]);
    expect(dns.written.stderr).toContain('+ chat.example.org. 3600 IN A 203.0.113.5');
    expect(dns.written.stderr).toContain('✓ chat.example.org is ready');
    expect(await readdir(join(keys, chat))).toEqual(['dkim.pem', 'dns-state.json']);
    const again = await prepare();
    expect(await again.publish()).toBe(true);
    expect(again.written.stderr).toContain('Nothing to do');
    expect(again.written.stderr).toContain('is ready');
  });

  test('without an address publishes the rest, and says how to go on', async () => {
    const dns = await prepare({}, { json: true });
    expect(await dns.publish()).toBe(true);
    expect(held(chat, 'A')).toEqual([]);
    expect(held(chat, 'MX')).toEqual([`10 ${chat}.`]);
    expect(dns.written.stdout.trim().split('\n').at(-1)).toBe(
      '{"event":"dns","name":"chat.example.org","ready":false,"hasAddress":false}',
    );
    const people = await prepare();
    await people.publish();
    expect(people.written.stderr).toContain(
      'has no address yet. When it is known: chatmail-build dns push --domain chat.example.org --provider desec --ipv4 ADDRESS',
    );
    expect(people.written.stderr).not.toContain('is ready');
  });

  test('with the credentials on the device the address may come later, and is not remembered for long', async () => {
    const later = await prepare({ 'dns-on-device': true });
    expect(later.onDevice).toMatchObject({ credentials: { DESEC_TOKEN: token } });
    expect(await later.publish()).toBe(true);
    expect(later.written.stderr).toContain('the relay publishes it within minutes of its first start');
    const now = await prepare({ 'dns-on-device': true, ipv4: ['203.0.113.5'] });
    await now.publish();
    expect(now.written.stderr).toContain('+ chat.example.org. 300 IN A 203.0.113.5');
  });

  test('what is not seen in time is no success', async () => {
    const dns = await prepare({ ipv4: ['203.0.113.5'], wait: '5' }, { frozen: [] });
    expect(await dns.publish()).toBe(false);
    expect(dns.written.stderr).toContain('Not seen after 5 s');
    expect(dns.written.stderr).not.toContain('is ready');
  });
});
