/**
 * What the edge process does besides answering: keeps the certificate, keeps the addresses in the DNS where it may,
 * and tells the supervisor how both are. Wiring only, as edge.ts.
 */
import { join } from 'node:path';
import { type Challenges, createHttpChallenges, createTlsAlpnChallenges } from './acme/challenges.ts';
import { createCertificateKeeper } from './acme/keeper.ts';
import { writeFileAtomic } from './base/atomic-file.ts';
import type { Clock } from './base/clock.ts';
import { ConfigError, messageOf } from './base/errors.ts';
import type { Log } from './base/log.ts';
import type { Config } from './contract/config.ts';
import { plainDomain } from './contract/domain.ts';
import { encodeEdgeStatus } from './contract/edge-status.ts';
import type { Problem } from './contract/status.ts';
import { type DnsAccess, openDnsAccess } from './dns/access.ts';
import { createAddressKeeper } from './dns/address-keeper.ts';
import { createDnsChallenges } from './dns/challenges.ts';

export interface EdgeKeepersOptions {
  readonly config: Config;
  readonly paths: Readonly<
    Record<'acme' | 'dnsCredentials' | 'edgeStatus' | 'programs' | 'tlsCredentials', string>
  >;
  /** Lets every service read the certificate again. */
  readonly reload: (signal: AbortSignal) => Promise<void>;
  /** TLS ports on this machine that present the certificate. */
  readonly tlsPorts: readonly number[];
  readonly clock: Clock;
  readonly log: Log;
}

export interface EdgeKeepers {
  /** What ports 80 and 443 answer from while a certificate is ordered. */
  readonly challenges: Challenges;
  /** Works until `signal` fires. */
  run(signal: AbortSignal): Promise<void>;
}

/** Between looks at what there is to tell. */
const statusEveryMs = 2000;

/** Reads what there is to read; starts nothing. */
export async function createEdgeKeepers(options: EdgeKeepersOptions): Promise<EdgeKeepers> {
  const { config, paths, clock, log, reload } = options;
  const problems: Problem[] = [];
  const access = await openAccess(options, problems);
  const challenges: Challenges = {
    http: createHttpChallenges(),
    tlsAlpn: createTlsAlpnChallenges(),
    ...(access === null ? {} : { dns: createDnsChallenges(access) }),
  };
  const certificate = createCertificateKeeper({
    config,
    paths,
    orderProgram: join(paths.programs, 'certificate-order.js'),
    challenges,
    reload,
    ports: options.tlsPorts,
    log: log.child('acme'),
    clock,
  });
  const addresses =
    access === null || !config.dns.updateAddresses
      ? undefined
      : createAddressKeeper({
          access,
          domainName: plainDomain(config.domain),
          network: config.network,
          clock,
          log: log.child('dns'),
        });

  const statusText = (): string => {
    const { state, issuer, names, notAfterMs, nextActionMs, problems: ofCertificate } = certificate.status();
    const ofAddresses = addresses?.status().problem ?? null;
    return encodeEdgeStatus({
      certificate: {
        state,
        names: [...names],
        ...(issuer === undefined ? {} : { issuer }),
        ...(notAfterMs === undefined ? {} : { notAfterMs }),
        ...(nextActionMs === undefined ? {} : { nextActionMs }),
      },
      problems: [
        ...problems,
        ...ofCertificate,
        ...(ofAddresses === null
          ? []
          : [{ path: 'dns', message: ofAddresses, fix: '"chatmail-build dns check" says what to change' }]),
      ],
    });
  };
  const tellStatus = async (signal: AbortSignal): Promise<void> => {
    let told = '';
    while (!signal.aborted) {
      await clock.sleep(statusEveryMs, signal).catch(() => {});
      const text = statusText();
      if (text === told || signal.aborted) continue;
      try {
        await writeFileAtomic(paths.edgeStatus, text, { mode: 0o644, flush: false });
      } catch (error) {
        log.warn('status not written', { error: messageOf(error) });
      }
      // Also when it failed: the same complaint every other second helps nobody.
      told = text;
    }
  };
  return {
    challenges,
    run: async (signal) => {
      await Promise.all([certificate.run(signal), addresses?.run(signal), tellStatus(signal)]);
    },
  };
}

/** Without the right to change the DNS everything else goes on; the operator is told. */
async function openAccess(
  { config, paths, log }: EdgeKeepersOptions,
  problems: Problem[],
): Promise<DnsAccess | null> {
  try {
    return await openDnsAccess({ config, credentialsPath: paths.dnsCredentials });
  } catch (error) {
    const { path, fix } =
      error instanceof ConfigError
        ? error
        : { path: 'dns.provider', fix: 'Mend the settings of the provider' };
    problems.push({ path, message: messageOf(error), fix });
    log.error('no access to the DNS provider', { reason: messageOf(error) });
    return null;
  }
}
