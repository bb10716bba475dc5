/** What is shown to the authority while it makes sure that the domain is ours, one responder a way of asking. */
import { createSecureContext, type SecureContext } from 'node:tls';
import type { DnsChallenges } from '../dns/challenges.ts';
import { challengeServerName, makeChallengeCertificate } from './challenge-certificate.ts';
import type { ChallengeType } from './identifier.ts';

/** One challenge that is to be met (RFC 8555 §8). */
export interface PendingChallenge {
  readonly type: ChallengeType;
  /** The DNS name or IP address in question. */
  readonly identifier: string;
  readonly token: string;
  /** For dns-01 already the digest that goes into the TXT record (RFC 8555 §8.4). */
  readonly keyAuthorization: string;
}

/** http-01: the web server on port 80 asks here for what is below /.well-known/acme-challenge/. */
export interface HttpChallenges {
  /** The body for a request's path, or undefined when it is none of a challenge in progress. */
  respond(path: string): string | undefined;
  present(challenge: PendingChallenge): void;
  remove(challenge: PendingChallenge): void;
}

/** tls-alpn-01: the TLS server for the protocol `acme-tls/1` asks here for its certificate. */
export interface TlsAlpnChallenges {
  /** For the server name of a client hello; undefined when no challenge is in progress for it. */
  secureContext(serverName: string | undefined): SecureContext | undefined;
  present(challenge: PendingChallenge): void;
  remove(challenge: PendingChallenge): void;
}

export interface Challenges {
  readonly http: HttpChallenges;
  readonly tlsAlpn: TlsAlpnChallenges;
  /** dns-01: changes the zone; only where credentials for the DNS provider are on the device. */
  readonly dns?: DnsChallenges | undefined;
}

const httpPrefix = '/.well-known/acme-challenge/';
/** RFC 8555 §8.1: base64url. An authority's token is 43 characters; what is longer is no token. */
const tokenPattern = /^[A-Za-z0-9_-]{1,256}$/;

export function isToken(text: string): boolean {
  return tokenPattern.test(text);
}

export function createHttpChallenges(): HttpChallenges {
  const byToken = new Map<string, string>();
  return {
    respond: (path) =>
      path.startsWith(httpPrefix)
        ? byToken.get(path.slice(httpPrefix.length).replace(/\?.*$/s, ''))
        : undefined,
    present: ({ token, keyAuthorization }) => void byToken.set(token, keyAuthorization),
    remove: ({ token }) => void byToken.delete(token),
  };
}

export function createTlsAlpnChallenges(): TlsAlpnChallenges {
  const byServerName = new Map<string, { readonly token: string; readonly context: SecureContext }>();
  return {
    secureContext: (serverName) => byServerName.get(serverName?.toLowerCase() ?? '')?.context,
    present: ({ identifier, token, keyAuthorization }) => {
      const { keyPem, certificatePem } = makeChallengeCertificate(identifier, keyAuthorization);
      const context = createSecureContext({ key: keyPem, cert: certificatePem });
      byServerName.set(challengeServerName(identifier), { token, context });
    },
    remove: ({ identifier, token }) => {
      const name = challengeServerName(identifier);
      // A newer challenge for the same name stays.
      if (byServerName.get(name)?.token === token) byServerName.delete(name);
    },
  };
}

/** Ways that can be gone for an identifier, the likeliest first (RFC 8738 §7: no dns-01 for addresses). */
export function possibleChallenges(
  type: 'dns' | 'ip',
  wanted: ChallengeType | 'auto',
  hasDns: boolean,
): readonly ChallengeType[] {
  if (wanted !== 'auto') return [wanted];
  // Ports 80 and 443 before the DNS: they are there in a second, a zone may take minutes.
  return type === 'dns' && hasDns ? ['http-01', 'tls-alpn-01', 'dns-01'] : ['http-01', 'tls-alpn-01'];
}

/** Meets a challenge, by its type. */
export async function presentChallenge(
  { http, tlsAlpn, dns }: Challenges,
  challenge: PendingChallenge,
  signal: AbortSignal,
): Promise<void> {
  if (challenge.type === 'http-01') http.present(challenge);
  else if (challenge.type === 'tls-alpn-01') tlsAlpn.present(challenge);
  else {
    if (dns === undefined) throw new Error('No credentials for a DNS provider are on the device');
    await dns.present(`_acme-challenge.${challenge.identifier}`, challenge.keyAuthorization, signal);
  }
}

/** Takes away what presentChallenge put there. */
export async function removeChallenge(
  { http, tlsAlpn, dns }: Challenges,
  challenge: PendingChallenge,
  signal: AbortSignal,
): Promise<void> {
  if (challenge.type === 'http-01') http.remove(challenge);
  else if (challenge.type === 'tls-alpn-01') tlsAlpn.remove(challenge);
  else await dns?.remove(`_acme-challenge.${challenge.identifier}`, challenge.keyAuthorization, signal);
}
