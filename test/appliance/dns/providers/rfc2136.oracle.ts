/** Dynamic updates against the real Knot, BIND and PowerDNS. */
import { describe, expect, test } from 'vitest';
import { rfc2136 } from '../../../../appliance/dns/providers/rfc2136.ts';
import {
  hasProgram,
  type RealServer,
  startBind,
  startKnot,
  startPowerdns,
  updateKey,
} from '../../../fakes/dns/authoritative.ts';
import { type ProviderHarness, providerConformance, testContext } from './conformance.ts';

const zones = ['example.org', 'child.example.org'];
const strangerSecret = 'YW5vdGhlci1zZWNyZXQtdGhhdC1ub2JvZHkta25vd3M=';

function credentials(server: RealServer, overrides: Record<string, string> = {}) {
  return {
    RFC2136_NAMESERVER: `127.0.0.1:${server.port}`,
    RFC2136_TSIG_KEY: updateKey.name,
    RFC2136_TSIG_SECRET: updateKey.secret,
    ...overrides,
  };
}

async function harnessOf(server: RealServer): Promise<ProviderHarness> {
  return {
    provider: await rfc2136.create(credentials(server), testContext()),
    stranger: await rfc2136.create(
      credentials(server, { RFC2136_TSIG_SECRET: strangerSecret }),
      testContext(),
    ),
    strangerSecret,
    zone: 'example.org',
    truth: (name, type) => server.truth(name, type),
    close: () => server.close(),
  };
}

const servers = [
  ['Knot', 'knotd', () => startKnot(zones)],
  ['BIND', 'named', () => startBind(zones)],
  ['PowerDNS', 'pdns_server', () => startPowerdns(zones, 'key')],
] as const;

for (const [title, program, start] of servers) {
  describe.skipIf(!hasProgram(program) && process.env.CI === undefined)(`on ${title}`, () => {
    providerConformance('rfc2136', async () => harnessOf(await start()));

    test('names the key when the server does not know it, and the clock when it differs', async () => {
      const server = await start();
      try {
        const unknown = await rfc2136.create(
          credentials(server, { RFC2136_TSIG_KEY: 'other' }),
          testContext(),
        );
        await expect(
          unknown.findZone('chat.example.org', { signal: AbortSignal.timeout(10_000) }),
        ).rejects.toMatchObject({ code: 'wrong-credentials' });
        const late = { ...testContext(), clock: () => new Date(Date.now() - 3_600_000) };
        const slow = await rfc2136.create(credentials(server), late);
        await expect(
          slow.findZone('chat.example.org', { signal: AbortSignal.timeout(10_000) }),
        ).rejects.toMatchObject({ code: 'wrong-credentials', fix: expect.stringContaining('clock') });
      } finally {
        await server.close();
      }
    });
  });
}
