/**
 * Failures in the operator's words: one sentence on what is wrong, one on how to mend it. What authorities
 * say is written for people who know the protocol.
 */
import type { OrderFailure } from './order-protocol.ts';

export interface Explanation {
  readonly message: string;
  readonly fix: string;
}

export interface ExplainContext {
  /** The domain. */
  readonly name: string;
  readonly directory: string;
  /** What the device believes. */
  readonly nowMs: number;
  /** Where the name in question leads, as our own resolver sees it; empty when it could not be asked. */
  readonly addresses: readonly string[];
}

const clockCodes = new Set(['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED']);
const trustCodes = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
]);
const resolverCodes = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL']);

/** `2026-11-21 06:30 UTC`. */
export function plainTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

export function explain(failure: OrderFailure, context: ExplainContext): Explanation {
  if (failure.kind === 'unreachable') return explainUnreachable(failure, context);
  if (failure.kind === 'unusable') return explainUnusable(failure);
  if (failure.kind === 'here') {
    return {
      message: `The proof for ${failure.identifier ?? context.name} (${failure.challenge ?? 'challenge'}) cannot be given: ${failure.detail}`,
      fix:
        failure.challenge === 'dns-01'
          ? 'Check the credentials for your DNS provider with "chatmail-build dns check"'
          : 'Restart the relay; if it stays, report it with the text above',
    };
  }
  return explainProblem(failure, context);
}

function explainUnreachable({ code, detail }: OrderFailure, context: ExplainContext): Explanation {
  const host = new URL(context.directory).host;
  if (clockCodes.has(code)) {
    return {
      message: `The clock says ${plainTime(context.nowMs)}, and by it the certificate of ${host} is not valid`,
      fix: 'If that time is wrong, let the relay reach its time servers (UDP port 123 outwards)',
    };
  }
  if (trustCodes.has(code)) {
    return {
      message: `The certificate authority ${host} shows a certificate that nobody known has signed`,
      fix: 'Add the root certificate of your authority to tls.authorities in the configuration',
    };
  }
  if (resolverCodes.has(code)) {
    return {
      message: `The certificate authority ${host} cannot be looked up`,
      fix: 'Check the network cable, and that the relay may ask name servers (port 53 outwards)',
    };
  }
  if (code === 'HTTP') {
    return {
      message: `The certificate authority is out of order: ${detail}`,
      fix: 'Nothing is to be done: the relay tries again by itself',
    };
  }
  return {
    message: `The certificate authority ${host} cannot be reached: ${detail}`,
    fix: 'Check the network cable, and that the relay may open connections to port 443 outwards',
  };
}

function explainUnusable({ code, detail }: OrderFailure): Explanation {
  if (code === 'externalAccountRequired') {
    return {
      message: detail,
      fix: 'Set tls.directory to an authority that takes everybody, such as Let’s Encrypt',
    };
  }
  if (code === 'invalidProfile') {
    return { message: detail, fix: 'Set tls.profile to one of those, or leave it out' };
  }
  return { message: detail, fix: 'Check tls.directory in the configuration' };
}

function explainProblem(failure: OrderFailure, context: ExplainContext): Explanation {
  const { code, detail, challenge } = failure;
  const name = failure.identifier ?? context.name;
  const quoted = detail === '' ? '' : ` (“${detail}”)`;
  switch (code) {
    case 'rateLimited': {
      const until = failure.retryAfterMs === undefined ? '' : ` before ${plainTime(failure.retryAfterMs)}`;
      return {
        message: `The certificate authority gives ${context.name} no more certificates${until}${quoted}`,
        fix: 'Nothing is to be done: the relay tries again by itself. Avoid setting it up anew until then',
      };
    }
    case 'caa':
      return {
        message: `A CAA record of ${name} forbids this authority, or this account, to give certificates${quoted}`,
        fix: 'Push the DNS records of the relay again with "chatmail-build dns push", or remove the CAA record',
      };
    case 'dns':
      return {
        message: `${name} cannot be looked up from outside${quoted}`,
        fix: 'Publish the DNS records of the relay; "chatmail-build dns check" says which are missing',
      };
    case 'connection':
    case 'tls':
      return explainConnection(failure, name, context, quoted);
    case 'incorrectResponse':
    case 'unauthorized':
      if (challenge === undefined) break;
      return explainWrongAnswer(name, challenge, context, quoted);
    case 'rejectedIdentifier':
    case 'unsupportedIdentifier':
      return {
        message: `The certificate authority gives no certificates for ${name}${quoted}`,
        fix: 'Set tls.certificate to "self-signed", or give the relay a domain of your own',
      };
    case 'invalidContact':
    case 'unsupportedContact':
      return {
        message: `The certificate authority does not take the mail address in tls.contact${quoted}`,
        fix: 'Give another one, or leave it out',
      };
    case 'badPublicKey':
    case 'badCSR':
      return {
        message: `The certificate authority does not take the relay’s key${quoted}`,
        fix: 'Nothing is to be done: the relay tries again with a new key',
      };
    case 'notOffered':
      return {
        message: `${detail}`,
        fix: 'Set tls.challenge to "auto" in the configuration',
      };
    case 'userActionRequired':
      return {
        message: `The certificate authority wants something done by a person${quoted}`,
        fix: 'Do what it says; the relay tries again by itself',
      };
    default:
  }
  return {
    message: `The certificate authority refuses a certificate for ${name}${quoted}`,
    fix: 'The relay tries again by itself; if it stays, report it with the text above',
  };
}

function leadsTo({ addresses }: ExplainContext): string {
  return addresses.length === 0 ? '' : `, which leads to ${addresses.slice(0, 4).join(' and ')}`;
}

function explainConnection(
  { challenge }: OrderFailure,
  name: string,
  context: ExplainContext,
  quoted: string,
): Explanation {
  const port = challenge === 'http-01' ? 80 : 443;
  return {
    message: `From outside nobody reaches port ${port} of ${name}${leadsTo(context)}${quoted}`,
    fix: `Let ports 80 and 443 through to the relay in your router or firewall, and check that the address is the relay’s`,
  };
}

function explainWrongAnswer(
  name: string,
  challenge: NonNullable<OrderFailure['challenge']>,
  context: ExplainContext,
  quoted: string,
): Explanation {
  if (challenge === 'dns-01') {
    return {
      message: `The authority does not see the TXT record at _acme-challenge.${name}${quoted}`,
      fix: 'Check with "chatmail-build dns check" that all name servers of the domain agree',
    };
  }
  return {
    message: `Another server than this relay answers at ${name}${leadsTo(context)}${quoted}`,
    fix: `Point the A and AAAA records of ${name} at the relay, and remove those that are not its own`,
  };
}
