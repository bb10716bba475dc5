/**
 * Two relays of two owners on one internet, and a person on each. The name server, the relays and the clients
 * are real; whatever way is left open between the relays, what is written arrives.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { users } from '../../appliance/contract/users.ts';
import { type CertificateAuthority, makeAuthority } from '../fakes/certificates.ts';
import { DeltaChat } from '../oracles/delta-chat.ts';
import { builtRoot } from './built-image.ts';
import { befriend, exchangeTenMessages, sendFile } from './chat.ts';
import { Internet, nameServerAddress, newDkimKey, type Site } from './internet.ts';
import { relayAddress, RelayNamespace } from './relay-namespace.ts';

interface Place extends Site {
  readonly credentials: string;
}

function place(authority: CertificateAuthority, domain: string, address: string): Place {
  const { key, cert, certificate } = authority.issue([domain, `www.${domain}`, `mta-sts.${domain}`]);
  const publicKey = certificate.publicKey.export({ type: 'spki', format: 'der' });
  const tlsaSpkiSha256 = [createHash('sha256').update(publicKey).digest('hex')];
  return { domain, address, dkimKey: newDkimKey(), tlsaSpkiSha256, credentials: key + cert };
}

/** A relay as it is after weeks of service: with a certificate that an authority has given it. */
async function startRelay(
  internet: Internet,
  site: Place,
  authorities: readonly CertificateAuthority[],
): Promise<RelayNamespace> {
  return RelayNamespace.start({
    rootImage: (await builtRoot()).path,
    config: {
      domain: site.domain,
      network: { forwarders: [nameServerAddress] },
      tls: {
        certificate: 'acme',
        // Nobody answers there; the certificate is still good for long enough.
        directory: `https://${nameServerAddress}/directory`,
        authorities: authorities.map(({ certificatePem }) => certificatePem),
      },
      secrets: { dkimKey: site.dkimKey },
    },
    beforeStart: async ({ netns, dataDirectory }) => {
      internet.join(netns, site.address);
      for (const folder of ['tls', 'unbound']) await mkdir(join(dataDirectory, folder), { recursive: true });
      const credentials = join(dataDirectory, 'tls', 'relay.pem');
      await writeFile(credentials, site.credentials, { mode: 0o600 });
      await chown(credentials, users.edge.uid, users.edge.gid);
      await writeFile(join(dataDirectory, 'unbound', 'root.key'), `${internet.rootKey}\n`);
    },
  });
}

/** Drops what goes through a relay's interface by a rule of nft(8), in both directions. */
function block({ netns }: RelayNamespace, device: string, rule: string): void {
  const text = `table inet ${device} {
  chain in {
    type filter hook input priority 0
    iifname ${device} ${rule} drop
  }
  chain out {
    type filter hook output priority 0
    oifname ${device} ${rule} drop
  }
}
`;
  execFileSync('ip', ['netns', 'exec', netns, 'nft', '-f', '-'], { input: text });
}

describe.each([
  ['over HTTPS alone: port 25 is dropped in both directions', { uplink: 'tcp dport 25' }],
  [
    'over SMTP alone, to keys pinned by DNSSEC: 443 is dropped in both directions',
    // Nobody believes the authority here: only the key in the signed zone vouches for the other.
    { uplink: 'tcp dport 443', authorityIsUnknown: true },
  ],
  [
    'over HTTPS, with clients that have port 443 and no other',
    { uplink: 'tcp dport 25', clients: 'tcp dport { 25, 80, 143, 465, 587, 993 }' },
  ],
] as const)('two relays %s', (_, blocked) => {
  const stack = new AsyncDisposableStack();
  let relays: readonly [RelayNamespace, RelayNamespace];
  let people: readonly [DeltaChat, DeltaChat];

  beforeAll(async () => {
    const authority = makeAuthority();
    const sites = [
      place(authority, 'nine.example.net', '198.51.100.9'),
      place(authority, 'ten.example.net', '198.51.100.10'),
    ] as const;
    const internet = stack.use(await Internet.start(sites));
    const start = async (site: Place) =>
      stack.use(await startRelay(internet, site, 'authorityIsUnknown' in blocked ? [] : [authority]));
    relays = [await start(sites[0]), await start(sites[1])];
    for (const relay of relays) {
      block(relay, 'uplink', blocked.uplink);
      if ('clients' in blocked) block(relay, 'eth0', blocked.clients);
    }
    const ports = 'clients' in blocked ? { imap: 443, smtp: 443 } : { imap: 993, smtp: 465 };
    const person = async (relay: RelayNamespace, address: string) => {
      const core = stack.use(await DeltaChat.start({ netns: relay.clientNetns }));
      await core.configure({
        address,
        password: `secret-of-${address}`,
        imap: { host: relayAddress, port: ports.imap, security: 'ssl' },
        smtp: { host: relayAddress, port: ports.smtp, security: 'ssl' },
        // Clients carry their own list of authorities.
        acceptInvalidCertificates: true,
      });
      return core;
    };
    people = [
      await person(relays[0], 'alice0001@nine.example.net'),
      await person(relays[1], 'bob000001@ten.example.net'),
    ];
  });
  afterAll(() => stack.disposeAsync());

  test('verify each other, exchange messages and a file', async () => {
    const friends = await befriend(...people);
    await exchangeTenMessages(friends);
    await sendFile(friends);
  });

  test('leave nothing in their queues', async () => {
    for (const { dataDirectory } of relays) {
      const log = await readFile(join(dataDirectory, 'log', 'postfix.log'), 'utf8');
      expect(log).not.toMatch(/status=(?:bounced|deferred)/);
    }
  });
});
