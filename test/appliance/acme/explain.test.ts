import { describe, expect, test } from 'vitest';
import { explain, type ExplainContext } from '../../../appliance/acme/explain.ts';
import type { OrderFailure } from '../../../appliance/acme/order-protocol.ts';
import { readProblem } from '../../../appliance/acme/transport.ts';

const context: ExplainContext = {
  name: 'chat.example.org',
  directory: 'https://authority.example/directory',
  nowMs: Date.UTC(2024, 0, 1),
  addresses: ['192.0.2.7'],
};
const problem = (code: string, more: Partial<OrderFailure> = {}): OrderFailure => ({
  kind: 'problem',
  code,
  detail: '',
  identifier: 'chat.example.org',
  challenge: 'http-01',
  ...more,
});

describe('explain', () => {
  test.each([
    [
      problem('connection'),
      'From outside nobody reaches port 80 of chat.example.org, which leads to 192.0.2.7',
      'Let ports 80 and 443 through',
    ],
    [
      problem('connection', { challenge: 'tls-alpn-01' }),
      'From outside nobody reaches port 443 of chat.example.org, which leads to 192.0.2.7',
      'router or firewall',
    ],
    [
      problem('unauthorized'),
      'Another server than this relay answers at chat.example.org, which leads to 192.0.2.7',
      'A and AAAA records',
    ],
    [
      problem('unauthorized', { challenge: 'dns-01' }),
      'The authority does not see the TXT record at _acme-challenge.chat.example.org',
      'dns check',
    ],
    [
      problem('dns', { detail: 'NXDOMAIN' }),
      'chat.example.org cannot be looked up from outside (“NXDOMAIN”)',
      'dns check',
    ],
    [problem('caa'), 'A CAA record of chat.example.org forbids', 'dns push'],
    [
      problem('rateLimited', { retryAfterMs: Date.UTC(2026, 0, 2, 3, 4) }),
      'The certificate authority gives chat.example.org no more certificates before 2026-01-02 03:04 UTC',
      'tries again by itself',
    ],
    [problem('rejectedIdentifier'), 'gives no certificates for chat.example.org', 'self-signed'],
    [problem('badPublicKey'), 'does not take the relay’s key', 'new key'],
    [
      problem('somethingNew', { detail: 'Why not' }),
      'refuses a certificate for chat.example.org (“Why not”)',
      'report',
    ],
    [
      { kind: 'unreachable', code: 'CERT_NOT_YET_VALID', detail: 'x' },
      'The clock says 2024-01-01 00:00 UTC, and by it the certificate of authority.example is not valid',
      'time servers',
    ],
    [
      { kind: 'unreachable', code: 'ENOTFOUND', detail: 'x' },
      'authority.example cannot be looked up',
      'name servers',
    ],
    [
      { kind: 'unreachable', code: 'ETIMEDOUT', detail: 'x' },
      'authority.example cannot be reached',
      'port 443 outwards',
    ],
    [
      { kind: 'unreachable', code: 'HTTP', detail: 'status 503' },
      'out of order: status 503',
      'Nothing is to be done',
    ],
    [
      { kind: 'unreachable', code: 'SELF_SIGNED_CERT_IN_CHAIN', detail: 'x' },
      'authority.example shows a certificate that nobody known has signed',
      'tls.authorities',
    ],
    [{ kind: 'unusable', code: 'externalAccountRequired', detail: 'Closed' }, 'Closed', 'tls.directory'],
    [
      { kind: 'here', code: '', detail: 'token expired', challenge: 'dns-01' },
      'token expired',
      'DNS provider',
    ],
  ] as const)('%j', (failure, message, fix) => {
    const explanation = explain(failure, context);
    expect(explanation.message).toContain(message);
    expect(explanation.fix).toContain(fix);
    for (const sentence of [explanation.message, explanation.fix])
      expect(sentence).not.toMatch(/\.$|undefined/);
  });
});

describe('readProblem', () => {
  test('reads code, detail and what is said of each name', () => {
    expect(
      readProblem({
        type: 'urn:ietf:params:acme:error:rejectedIdentifier',
        detail: 'Some\nof them',
        subproblems: [{ detail: 'no', identifier: { type: 'dns', value: 'a.example' } }],
      }),
    ).toEqual({ code: 'rejectedIdentifier', detail: 'Some of them; a.example: no' });
  });

  test('knows no code but those of ACME, and takes no other document for a problem', () => {
    expect(readProblem({ type: 'about:blank', detail: 'x' })).toEqual({ code: '', detail: 'x' });
    for (const other of [undefined, null, 'text', {}, [], { type: 1 }])
      expect(readProblem(other)).toBeUndefined();
    expect(readProblem({ detail: 'x'.repeat(5000) })?.detail).toHaveLength(1000);
  });
});
