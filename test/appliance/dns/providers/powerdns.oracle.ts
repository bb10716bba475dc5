/** The HTTP API of the real PowerDNS. */
import { describe, expect, test } from 'vitest';
import { powerdns } from '../../../../appliance/dns/providers/powerdns.ts';
import { hasProgram, startPowerdns } from '../../../fakes/dns/authoritative.ts';
import { providerConformance, testContext } from './conformance.ts';

const apiKey = 'the-key-of-the-server';
const strangerSecret = 'a-key-nobody-knows';

describe.skipIf(!hasProgram('pdns_server') && process.env.CI === undefined)('on PowerDNS', () => {
  providerConformance('powerdns', async () => {
    const server = await startPowerdns(['example.org', 'child.example.org'], apiKey);
    const create = (key: string) =>
      powerdns.create(
        { PDNS_API_URL: `http://127.0.0.1:${server.apiPort}/`, PDNS_API_KEY: key },
        testContext(),
      );
    return {
      provider: await create(apiKey),
      stranger: await create(strangerSecret),
      strangerSecret,
      zone: 'example.org',
      truth: (name, type) => server.truth(name, type),
      close: () => server.close(),
    };
  });

  test('a server that does not answer is unavailable', async () => {
    const provider = await powerdns.create(
      { PDNS_API_URL: 'http://127.0.0.1:9', PDNS_API_KEY: apiKey },
      testContext(),
    );
    await expect(
      provider.findZone('chat.example.org', { signal: AbortSignal.timeout(10_000) }),
    ).rejects.toMatchObject({ code: 'unavailable' });
  });
});
