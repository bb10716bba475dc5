/**
 * A relay's first hour on a private network with an authority of its own: it starts with a certificate that
 * it has signed itself, gets one from the authority as soon as there is one, and nobody who is signed in
 * notices. The real root filesystem and service table, and Pebble among the clients.
 */
import type { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeSelfSigned } from '../../appliance/boot/certificate.ts';
import { parseDomain } from '../../appliance/contract/domain.ts';
import { ImapClient, SmtpClient, startTls } from '../oracles/mail-client.ts';
import { startNameServer, startPebble } from '../oracles/pebble.ts';
import { builtRoot } from './built-image.ts';
import { encrypted } from './messages.ts';
import { clientAddress, relayAddress, RelayNamespace, waitUntil } from './relay-namespace.ts';

// RFC 8375: unbound takes what a forwarder says of it without asking the root.
const zone = 'home.arpa';
const domain = `chat.${zone}`;
const address = `user00001@${domain}`;
const password = 'correct-horse-battery';
const resources = new AsyncDisposableStack();
let relay: RelayNamespace;
let scratch: string;
let tls: Awaited<ReturnType<typeof makeSelfSigned>>;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'acme-vm-'));
  resources.defer(() => rm(scratch, { recursive: true, force: true }));
  tls = await makeSelfSigned(parseDomain(clientAddress), Date.now());
  const rootImage = (await builtRoot()).path;
  relay = await RelayNamespace.start({
    rootImage,
    config: {
      domain,
      network: { forwarders: [clientAddress] },
      tls: {
        certificate: 'acme',
        directory: `https://${clientAddress}:14000/dir`,
        authorities: [tls.certificatePem],
      },
    },
    beforeStart: async ({ clientNetns }) => {
      const records = [`chat A ${relayAddress}`, 'www.chat CNAME chat', 'mta-sts.chat CNAME chat'].join('\n');
      const directory = join(scratch, 'knot');
      resources.use(
        await startNameServer({ netns: clientNetns, address: clientAddress, directory, zone, records }),
      );
    },
  });
  resources.use(relay);
});
afterAll(() => resources.disposeAsync());

async function presented(port: number, alpn: readonly string[] = []): Promise<X509Certificate> {
  const socket = await startTls(await relay.connect(port), domain, alpn);
  const certificate = socket.getPeerX509Certificate();
  socket.destroy();
  if (certificate === undefined) throw new Error(`No certificate on port ${port}`);
  return certificate;
}

/** The first sign-in makes the account, which a relay puts off while its machine is busy. */
async function signUp(): Promise<void> {
  await waitUntil(
    async () => {
      using client = new ImapClient(await startTls(await relay.connect(993), domain));
      await client.greeting();
      return (await client.login(address, password)).status === 'OK';
    },
    180_000,
    () => 'an account',
  );
}

async function idling(port: number, alpn: readonly string[] = []): Promise<ImapClient> {
  const client = new ImapClient(await startTls(await relay.connect(port), domain, alpn));
  await client.greeting();
  expect(await client.login(address, password)).toMatchObject({ status: 'OK' });
  await client.command('SELECT INBOX');
  client.write('idle IDLE\r\n');
  await client.read(/\+ idling\r\n/);
  return client;
}

/** Ports and protocols where clients come in. */
const doors: readonly (readonly [number, readonly string[]])[] = [
  [993, []],
  [465, []],
  [443, []],
  [443, ['imap']],
  [443, ['smtp']],
];

describe('a relay', () => {
  test(
    'gets a certificate by itself when the authority is there, presents it at every door, and drops nobody',
    { timeout: 400_000 },
    async () => {
      for (const [port, alpn] of doors) {
        const { issuer, subject } = await presented(port, alpn);
        expect(issuer).toBe(subject);
      }
      await signUp();
      using straight = await idling(993);
      using multiplexed = await idling(443, ['imap']);
      using smtp = new SmtpClient(await startTls(await relay.connect(465), domain));
      await smtp.reply();
      await smtp.command('EHLO client.example');
      expect(await smtp.login(address, password)).toMatchObject({ code: 235 });

      resources.use(
        await startPebble({
          netns: relay.clientNetns,
          address: clientAddress,
          directory: join(scratch, 'pebble'),
          nameServer: `${clientAddress}:53`,
          tls,
        }),
      );
      await waitUntil(
        async () => (await presented(993)).issuer.includes('Pebble'),
        90_000,
        () => 'a certificate of Pebble on port 993',
      ).catch(async (cause: unknown) => {
        throw new Error(await relay.logs(), { cause });
      });
      const logged = async () => readFile(join(relay.dataDirectory, 'log', 'edge.log'), 'utf8');
      await waitUntil(
        async () => (await logged()).includes('certificate in use'),
        30_000,
        () => 'the keeper to be content',
      ).catch(async (cause: unknown) => {
        throw new Error(await relay.logs(), { cause });
      });
      const [leaf] = await Promise.all(doors.map(([port, alpn]) => presented(port, alpn)));
      for (const [port, alpn] of doors) {
        expect((await presented(port, alpn)).fingerprint256).toBe(leaf?.fingerprint256);
      }
      for (const name of [domain, `www.${domain}`, `mta-sts.${domain}`]) {
        expect(leaf?.checkHost(name)).toBe(name);
      }

      // Those who were there before still are: they send, and hear of mail.
      expect(await smtp.send(address, [address], encrypted(address))).toMatchObject({ code: 250 });
      await straight.read(/\* \d+ EXISTS\r\n/);
      await multiplexed.read(/\* \d+ EXISTS\r\n/);
    },
  );

  test('keeps its certificate over a restart', { timeout: 180_000 }, async () => {
    const { fingerprint256 } = await presented(993);
    const edge = await relay.pidOf(/edge\.js/);
    process.kill(edge, 'SIGKILL');
    await waitUntil(
      async () => (await relay.pidOf(/edge\.js/).catch(() => edge)) !== edge,
      30_000,
      () => 'another edge process',
    );
    await waitUntil(
      () =>
        presented(443).then(
          (found) => found.fingerprint256 === fingerprint256,
          () => false,
        ),
      30_000,
      () => 'the same certificate on port 443',
    );
  });
});
