/** Certificates from Let's Encrypt's test authority, which looks at ports 80 and 443 and asks a name server. */
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ConfigDocument } from '../../../appliance/contract/config.ts';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { makeSelfSigned } from '../../../appliance/boot/certificate.ts';
import { hasProgram } from '../../fakes/dns/authoritative.ts';
import { type Pebble, type PebbleOptions, startNameServer, startPebble } from '../../oracles/pebble.ts';
import { Relay, type Start } from './fixtures/relay.ts';

const zone = 'example.org';
const domain = `chat.${zone}`;
/** The relay, where names lead to; and somewhere else. */
const address = '10.77.0.1';
const elsewhere = '10.77.0.2';
const authorityAddress = '10.77.0.3';
const hours = 3_600_000;

const canRun = process.getuid?.() === 0 && hasProgram('knotd') && hasProgram('ip');

describe.skipIf(!canRun && process.env.CI === undefined)('the keeper and Pebble', () => {
  const netns = `acme-${process.pid}`;
  let scratch = '';
  let made = 0;
  const resources = new AsyncDisposableStack();
  let pebble: Pebble;

  const ip = (...args: string[]) => {
    const result = spawnSync('ip', args, { encoding: 'utf8' });
    if (result.status !== 0) throw new Error(`ip ${args.join(' ')}: ${result.stderr}`);
  };

  async function authority(options: Partial<PebbleOptions> = {}): Promise<Pebble> {
    return startPebble({
      netns,
      address: authorityAddress,
      directory: join(scratch, `pebble-${options.port ?? 14_000}`),
      nameServer: `${address}:53`,
      ...options,
    });
  }

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'acme-'));
    resources.defer(() => rm(scratch, { recursive: true, force: true }));
    ip('netns', 'add', netns);
    resources.defer(() => void spawnSync('ip', ['netns', 'del', netns]));
    ip('-n', netns, 'link', 'set', 'lo', 'up');
    for (const each of [address, elsewhere, authorityAddress]) {
      ip('-n', netns, 'addr', 'add', `${each}/32`, 'dev', 'lo');
    }
    ip('-n', netns, 'addr', 'add', 'fd77::1/128', 'dev', 'lo');
    const records = [
      `chat A ${address}`,
      `www.chat CNAME chat`,
      `mta-sts.chat CNAME chat`,
      `away A ${elsewhere}`,
      `half A ${address}`,
      `www.half A ${elsewhere}`,
      `mta-sts.half CNAME half`,
    ].join('\n');
    resources.use(await startNameServer({ netns, address, directory: join(scratch, 'knot'), zone, records }));
    pebble = resources.use(await authority());
  });
  afterAll(() => resources.disposeAsync());

  interface Case extends AsyncDisposable {
    readonly relay: Relay;
    readonly paths: Start['paths'];
    readonly start: Start;
    /** The leaf in the file everybody uses. */
    leaf(): Promise<X509Certificate>;
  }

  /** A relay with a certificate of its own, and its keeper at work. */
  async function begin(
    config: ConfigDocument,
    options: Partial<Start> & { readonly from?: Pebble } = {},
  ): Promise<Case> {
    const { from = pebble, ...rest } = options;
    const directory = join(scratch, `relay-${++made}`);
    const paths = options.paths ?? {
      tlsCredentials: join(directory, 'relay.pem'),
      acme: join(directory, 'acme'),
    };
    if (options.paths === undefined) {
      await mkdir(paths.acme, { recursive: true });
      const own = await makeSelfSigned(parseDomain(config.domain), Date.now());
      await writeFile(paths.tlsCredentials, own.keyPem + own.certificatePem);
    }
    const authorities = join(directory, '..', `authorities-${made}.pem`);
    await writeFile(authorities, from.authorityPem);
    const relay = new Relay(netns, authorities);
    const start: Start = {
      kind: 'start',
      config: { ...config, tls: { certificate: 'acme', directory: from.directoryUrl, ...config.tls } },
      paths,
      address,
      nameServer: address,
      zone,
      ...rest,
    };
    try {
      await relay.ask(start);
    } catch (error) {
      await relay[Symbol.asyncDispose]();
      throw error;
    }
    return {
      relay,
      paths,
      start,
      leaf: async () => new X509Certificate(await readFile(paths.tlsCredentials)),
      [Symbol.asyncDispose]: () => relay[Symbol.asyncDispose](),
    };
  }

  const isValid = (status: { readonly state: string }) => status.state === 'valid';

  test.each(['http-01', 'tls-alpn-01', 'dns-01', 'auto'] as const)(
    'get a certificate for all three names by %s, and every port presents it',
    async (challenge) => {
      await using one = await begin({ domain, tls: { challenge } }, { dns: true });
      const { status } = await one.relay.until('a certificate', isValid);
      expect([...status.names].sort()).toEqual([domain, `mta-sts.${domain}`, `www.${domain}`]);
      expect(status).toMatchObject({ state: 'valid', problems: [] });
      expect(status.accountUrl).toMatch(/^https:\/\/10\.77\.0\.3:14000\/my-account\//);
      expect((await one.leaf()).issuer).toContain('Pebble');
      expect(one.relay.log).toContain('certificate in use');
    },
  );

  test.each([
    [address, 'http-01'],
    [address, 'tls-alpn-01'],
    ['fd77::1', 'http-01'],
    ['fd77::1', 'tls-alpn-01'],
  ] as const)('get a certificate for the address %s by %s', async (literal, challenge) => {
    await using one = await begin({ domain: literal, tls: { challenge } }, { address: literal });
    await one.relay.until('a certificate', isValid);
    expect((await one.leaf()).checkIP(literal)).toBe(literal);
  });

  test('get along with an authority that is slow and rejects every second nonce', async () => {
    await using slow = await authority({
      port: 14_100,
      env: { PEBBLE_WFE_NONCEREJECT: '50', PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '3' },
    });
    await using one = await begin({ domain }, { from: slow });
    const { status } = await one.relay.until('a certificate', isValid, 90_000);
    expect(status.names).toHaveLength(3);
  });

  test('leave out a name that leads elsewhere, and take it in when it comes to lead here', async () => {
    await using one = await begin({ domain: `half.${zone}` });
    const { status } = await one.relay.until('a certificate', isValid);
    expect([...status.names].sort()).toEqual([`half.${zone}`, `mta-sts.half.${zone}`]);
    expect(status.problems).toEqual([
      expect.objectContaining({
        message: expect.stringContaining(`not for www.half.${zone}: that name does not`),
      }),
    ]);
    await one.relay.ask({
      kind: 'records',
      remove: [],
      sets: [{ name: `www.half.${zone}`, type: 'A', ttlSec: 1, values: [address] }],
    });
    await one.relay.ask({ kind: 'advance', ms: hours });
    const later = await one.relay.until('three names', ({ names }) => names.length === 3);
    expect(later.status.problems).toEqual([]);
  });

  test('fall back to port 443 when nothing answers on port 80, and remember it', async () => {
    await using one = await begin({ domain }, { servePort80: false });
    await one.relay.until('a certificate', isValid);
    const history: unknown = JSON.parse(await readFile(join(one.paths.acme, 'history.json'), 'utf8'));
    expect(history).toMatchObject({ proven: { [domain]: 'tls-alpn-01' } });
  });

  test('say which port is closed to the outside, and wait before the next try, over a restart too', async () => {
    const config = { domain, tls: { challenge: 'http-01' } } as const;
    const one = await begin(config, { servePort80: false });
    const failed = ({ lastFailure }: { readonly lastFailure?: object }) => lastFailure !== undefined;
    const { status } = await one.relay.until('a failure', failed);
    expect(status.state).toBe('missing');
    expect(status.lastFailure?.message).toContain(
      `nobody reaches port 80 of ${domain}, which leads to ${address}`,
    );
    expect(status.lastFailure?.fix).toContain('router or firewall');
    expect((status.nextActionMs ?? 0) - Date.now()).toBeGreaterThan(10 * 60_000);
    await one[Symbol.asyncDispose]();
    await using again = await begin(config, { paths: one.paths });
    const { status: after } = await again.relay.until('the failure before', failed);
    expect(after.lastFailure).toEqual(status.lastFailure);
    expect(again.relay.log).not.toContain('ordering');
    await again.relay.ask({ kind: 'advance', ms: 20 * 60_000 });
    await again.relay.until('a certificate', isValid);
  });

  test('say that the name leads elsewhere', async () => {
    await using one = await begin({ domain: `away.${zone}`, tls: { challenge: 'http-01' } });
    const { status } = await one.relay.until('a failure', ({ lastFailure }) => lastFailure !== undefined);
    expect(status.lastFailure?.message).toContain(`which leads to ${elsewhere}`);
  });

  test('wait for a name to appear without asking the authority', async () => {
    await using one = await begin({ domain: `later.${zone}` });
    const { status } = await one.relay.until('a failure', ({ lastFailure }) => lastFailure !== undefined);
    expect(status.lastFailure?.message).toBe(`later.${zone} has no address in the DNS yet`);
    expect(one.relay.log).not.toContain('ordering');
    await one.relay.ask({
      kind: 'records',
      remove: [],
      sets: [{ name: `later.${zone}`, type: 'A', ttlSec: 1, values: [address] }],
    });
    await one.relay.ask({ kind: 'advance', ms: 20_000 });
    await one.relay.until('a certificate', isValid);
  });

  test('renew a certificate that was revoked at the next look, with the same key', async () => {
    await using one = await begin({ domain });
    await one.relay.until('a certificate', isValid);
    const before = await one.leaf();
    await one.relay.until('the window', () => one.relay.log.includes('renewal window'));
    await one.relay.ask({ kind: 'revoke' });
    await one.relay.ask({ kind: 'advance', ms: 7 * hours });
    await one.relay.until('another', () => one.relay.log.includes('"reason":"called-back"'));
    await one.relay.until('its use', () => one.relay.log.split('certificate in use').length === 3);
    const after = await one.leaf();
    expect(after.fingerprint256).not.toBe(before.fingerprint256);
    expect(after.publicKey.equals(before.publicKey)).toBe(true);
    expect(await readFile(join(one.paths.acme, 'relay.previous.pem'), 'utf8')).toContain(
      before.toString().trim(),
    );
  });

  test('renew when its time has come, and with a new key when asked', async () => {
    await using one = await begin({ domain });
    await one.relay.until('a certificate', isValid);
    const before = await one.leaf();
    await one.relay.ask({ kind: 'renew', newKey: true });
    await one.relay.until('its use', () => one.relay.log.split('certificate in use').length === 3);
    const asked = await one.leaf();
    expect(asked.publicKey.equals(before.publicKey)).toBe(false);
    await one.relay.ask({ kind: 'advance', ms: 85 * 24 * hours });
    await one.relay.until('its use', () => one.relay.log.split('certificate in use').length === 4);
    expect(one.relay.log).toMatch(/"reason":"(?:renewal|called-back)"/);
    expect((await one.leaf()).publicKey.equals(asked.publicKey)).toBe(true);
  });

  test('go back to the certificate before when a port does not present the new one, and order none again', async () => {
    await using one = await begin({ domain });
    await one.relay.until('a certificate', isValid);
    const before = await readFile(one.paths.tlsCredentials, 'utf8');
    await one.relay.ask({ kind: 'deaf', ports: [993] });
    await one.relay.ask({ kind: 'renew', newKey: false });
    const failed = await one.relay.until('a failure', ({ lastFailure }) => lastFailure !== undefined);
    expect(failed.status.lastFailure?.message).toContain('port 993 presents another certificate');
    expect(failed.status.state).toBe('valid');
    expect(await readFile(one.paths.tlsCredentials, 'utf8')).toBe(before);
    const waiting = await readFile(join(one.paths.acme, 'relay.next.pem'), 'utf8');
    const orders = one.relay.log.split('"ordering"').length;
    await one.relay.ask({ kind: 'deaf', ports: [] });
    await one.relay.ask({ kind: 'advance', ms: 20 * 60_000 });
    await one.relay.until('its use', () => one.relay.log.split('certificate in use').length === 3);
    expect(await readFile(one.paths.tlsCredentials, 'utf8')).toBe(waiting);
    expect(one.relay.log.split('"ordering"').length).toBe(orders);
  });

  test('order from another authority when the configuration names another, with an account there', async () => {
    const first = await begin({ domain });
    await first.relay.until('a certificate', isValid);
    const before = await first.leaf();
    await first[Symbol.asyncDispose]();
    await using other = await authority({ port: 14_200 });
    await using one = await begin({ domain }, { from: other, paths: first.paths });
    const { status } = await one.relay.until('its use', () => one.relay.log.includes('certificate in use'));
    expect(one.relay.log).toContain('"reason":"other-authority"');
    expect(status.accountUrl ?? '').not.toContain(':14000');
    expect((await one.leaf()).fingerprint256).not.toBe(before.fingerprint256);
  });

  test('make another account when the authority has forgotten the one there was', async () => {
    const paths = await (async () => {
      await using shortLived = await authority({ port: 14_300 });
      await using one = await begin({ domain }, { from: shortLived });
      await one.relay.until('a certificate', isValid);
      return one.paths;
    })();
    await using reborn = await authority({ port: 14_300 });
    await using one = await begin({ domain }, { from: reborn, paths });
    await one.relay.until('the start', isValid);
    await one.relay.ask({ kind: 'renew', newKey: false });
    await one.relay.until('its use', () => one.relay.log.includes('certificate in use'));
  });

  test('say that an authority wants accounts made elsewhere', async () => {
    await using closed = await authority({ port: 14_400, externalAccountBindingRequired: true });
    await using one = await begin({ domain }, { from: closed });
    const { status } = await one.relay.until('a failure', ({ lastFailure }) => lastFailure !== undefined);
    expect(status.lastFailure?.message).toContain('only to accounts made elsewhere');
    expect(status.lastFailure?.fix).toContain('tls.directory');
  });

  test('say that the profile of the configuration is not offered', async () => {
    await using one = await begin({ domain, tls: { profile: 'nosuch' } });
    const { status } = await one.relay.until('a failure', ({ lastFailure }) => lastFailure !== undefined);
    expect(status.lastFailure?.message).toContain('has no profile nosuch');
  });

  test('say that the authority is not there, which is forgotten at a restart', async () => {
    await using one = await begin({ domain, tls: { directory: `https://${elsewhere}:1/dir` } });
    const { status } = await one.relay.until('a failure', ({ lastFailure }) => lastFailure !== undefined);
    expect(status.lastFailure?.message).toContain(`${elsewhere}:1 cannot be reached`);
    await expect(readFile(join(one.paths.acme, 'history.json'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('believe no authority that nobody has signed for', async () => {
    const { certificatePem } = await makeSelfSigned(parseDomain('x.example'), Date.now());
    await using one = await begin({ domain }, { from: { ...pebble, authorityPem: certificatePem } });
    const { status } = await one.relay.until('a failure', ({ lastFailure }) => lastFailure !== undefined);
    expect(status.lastFailure?.fix).toContain('tls.authorities');
  });

  test('give the memory of ordering back', async () => {
    await using one = await begin({ domain });
    const before = await one.relay.until('a certificate', isValid);
    await one.relay.until('its use', () => one.relay.log.includes('certificate in use'));
    for (let count = 3; count <= 4; count++) {
      await one.relay.ask({ kind: 'renew', newKey: false });
      await one.relay.until('its use', () => one.relay.log.split('certificate in use').length === count);
    }
    const after = await one.relay.ask({ kind: 'status' });
    expect(after.pssKib - before.pssKib).toBeLessThan(15 * 1024);
  });
});
