/**
 * Let's Encrypt's test authority (Debian 13's pebble: 12's lacks renewal information), and Knot as the name
 * server it asks, in a network namespace, so that it comes to ports 80 and 443 as the real one would.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type KeyAndCertificate, makeSelfSigned } from '../../appliance/boot/certificate.ts';
import { parseDomain } from '../../appliance/contract/domain.ts';
import { unpackDebianPackages } from '../builder/image/debian-files.ts';
import { knotBeginning } from '../fakes/dns/authoritative.ts';

export interface Pebble extends AsyncDisposable {
  readonly directoryUrl: string;
  /** What signs its HTTPS. */
  readonly authorityPem: string;
  /** All it wrote. */
  output(): string;
}

export interface PebbleOptions {
  /** Network namespace it runs in. */
  readonly netns: string;
  /** An address there. */
  readonly address: string;
  readonly port?: number;
  /** For its files. */
  readonly directory: string;
  readonly nameServer: string;
  /** Of its HTTPS; made when not given. */
  readonly tls?: KeyAndCertificate;
  readonly env?: Readonly<Record<string, string>>;
  readonly certificateValiditySec?: number;
  readonly externalAccountBindingRequired?: boolean;
}

export async function startPebble(options: PebbleOptions): Promise<Pebble> {
  const { netns, address, port = 14_000, directory, nameServer } = options;
  const binary = join(await unpackDebianPackages(['pebble']), 'usr/bin/pebble');
  await mkdir(directory, { recursive: true });
  const tls = options.tls ?? (await makeSelfSigned(parseDomain(address), Date.now()));
  const { keyPem, certificatePem } = tls;
  const [certificate, privateKey, config] = ['cert.pem', 'key.pem', `config-${port}.json`].map((name) =>
    join(directory, name),
  );
  if (certificate === undefined || privateKey === undefined || config === undefined)
    throw new Error('No paths');
  await writeFile(certificate, certificatePem);
  await writeFile(privateKey, keyPem);
  await writeFile(
    config,
    JSON.stringify({
      pebble: {
        listenAddress: `${address}:${port}`,
        managementListenAddress: `${address}:${port + 1}`,
        certificate,
        privateKey,
        httpPort: 80,
        tlsPort: 443,
        ocspResponderURL: '',
        externalAccountBindingRequired: options.externalAccountBindingRequired ?? false,
        ...(options.externalAccountBindingRequired === true
          ? { externalAccountMACKeys: { one: 'c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC0' } }
          : {}),
        certificateValidityPeriod: options.certificateValiditySec ?? 90 * 86_400,
        retryAfter: { authz: 1, order: 1 },
      },
    }),
  );
  const server = await startInNamespace(netns, [binary, '-config', config, '-dnsserver', nameServer], {
    ready: /ACME directory available/,
    env: { PEBBLE_VA_NOSLEEP: '1', PEBBLE_AUTHZREUSE: '0', PEBBLE_WFE_NONCEREJECT: '0', ...options.env },
  });
  return {
    ...server,
    directoryUrl: `https://${address}:${port}/dir`,
    authorityPem: certificatePem,
  };
}

/** Knot on port 53 of an address, with one zone that takes updates from `updateKey`. */
export async function startNameServer(options: {
  readonly netns: string;
  readonly address: string;
  readonly directory: string;
  readonly zone: string;
  /** Lines of a zone file. */
  readonly records: string;
}): Promise<AsyncDisposable> {
  const { netns, address, directory, zone, records } = options;
  await mkdir(directory, { recursive: true });
  await writeFile(
    join(directory, `${zone}.zone`),
    `$TTL 1\n@ IN SOA ns1.${zone}. hostmaster.${zone}. 1 3600 600 86400 1\n@ IN NS ns1.${zone}.\nns1 IN A ${address}\n${records}\n`,
  );
  const config = join(directory, 'knot.conf');
  await writeFile(
    config,
    `${knotBeginning(directory, `${address}@53`, 'info')}template:
  - id: default
    storage: "${directory}"
    file: "%s.zone"
zone:
  - domain: ${zone}
    acl: update
`,
  );
  return startInNamespace(netns, ['knotd', '-c', config], { ready: /server started/ });
}

async function startInNamespace(
  netns: string,
  command: readonly string[],
  { ready, env = {} }: { readonly ready: RegExp; readonly env?: Readonly<Record<string, string>> },
): Promise<AsyncDisposable & { output(): string }> {
  const child = spawn('ip', ['netns', 'exec', netns, ...command], {
    env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin`, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  await new Promise<void>((resolve, reject) => {
    const collect = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-200_000);
      if (ready.test(output)) resolve();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${command[0]} ended with code ${code}\n${output}`)));
  });
  return { output: () => output, [Symbol.asyncDispose]: () => ended(child) };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}
