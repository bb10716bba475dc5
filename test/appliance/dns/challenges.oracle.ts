/** dns-01 records by signed updates to a real hidden primary, seen at its real secondary. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { txtValue } from '../../../appliance/contract/dns-records.ts';
import { createDnsChallenges, type DnsChallenges } from '../../../appliance/dns/challenges.ts';
import { rfc2136 } from '../../../appliance/dns/providers/rfc2136.ts';
import { exchange } from '../../../appliance/dns/exchange.ts';
import { hasProgram, startBind, updateKey } from '../../fakes/dns/authoritative.ts';
import { type SmallInternet, startSmallInternet } from '../../fakes/dns/internet.ts';
import { testContext } from './providers/conformance.ts';

const isComplete = hasProgram('knotd') && hasProgram('unbound');
const real = AbortSignal.timeout(120_000);

describe.skipIf(!isComplete && process.env.CI === undefined)('createDnsChallenges, with Knot', () => {
  let internet: SmallInternet;
  let challenges: DnsChallenges;
  beforeAll(async () => {
    internet = await startSmallInternet();
    const { lookup, provider, now } = internet.world;
    const credentials = {
      RFC2136_NAMESERVER: internet.hiddenPrimary,
      RFC2136_TSIG_KEY: updateKey.name,
      RFC2136_TSIG_SECRET: updateKey.secret,
    };
    challenges = createDnsChallenges({
      provider: await rfc2136.create(credentials, provider),
      lookup,
      sleep: provider.sleep,
      now,
    });
  });
  afterAll(() => internet?.close());

  test('when present resolves, the public server has the value; after remove the others stay', async () => {
    const name = '_acme-challenge.chat.example.org';
    await challenges.present(name, 'a'.repeat(43), real);
    expect((await internet.secondary.truth(name, 'TXT'))?.values).toEqual([txtValue('a'.repeat(43))]);
    await challenges.present(name, 'b'.repeat(43), real);
    expect((await internet.secondary.truth(name, 'TXT'))?.values).toHaveLength(2);
    await challenges.remove(name, 'a'.repeat(43), real);
    expect(await internet.primary.truth(name, 'TXT')).toEqual({
      ttlSec: 60,
      values: [txtValue('b'.repeat(43))],
    });
    await challenges.remove(name, 'b'.repeat(43), real);
    expect(await internet.primary.truth(name, 'TXT')).toBeNull();
  });

  test('a CNAME at the name is followed', async () => {
    const { provider, clock, sleep } = { ...internet.world.provider, provider: rfc2136 };
    const client = await provider.create(
      {
        RFC2136_NAMESERVER: internet.hiddenPrimary,
        RFC2136_TSIG_KEY: updateKey.name,
        RFC2136_TSIG_SECRET: updateKey.secret,
      },
      { fetch, clock, sleep },
    );
    const zone = await client.findZone('example.org', { signal: real });
    const name = '_acme-challenge.alias.example.org';
    const target = 'alias.challenges.example.org';
    await client.upsert(zone, [{ name, type: 'CNAME', ttlSec: 60, values: [`${target}.`] }], {
      signal: real,
    });
    await expect.poll(() => internet.secondary.truth(name, 'CNAME'), { timeout: 20_000 }).not.toBeNull();
    await challenges.present(name, 'followed', real);
    expect((await internet.secondary.truth(target, 'TXT'))?.values).toEqual([txtValue('followed')]);
    await challenges.remove(name, 'followed', real);
    expect(await internet.primary.truth(target, 'TXT')).toBeNull();
  });
});

describe.skipIf(!hasProgram('named') && process.env.CI === undefined)(
  'createDnsChallenges, with BIND',
  () => {
    test('puts values beside one another, and takes each away alone', async () => {
      const server = await startBind(['example.org']);
      try {
        // BIND itself is all the internet there is: the resolver, and the server of the zone.
        const at = { address: server.address, port: server.port };
        const credentials = {
          RFC2136_NAMESERVER: `${at.address}:${at.port}`,
          RFC2136_TSIG_KEY: updateKey.name,
          RFC2136_TSIG_SECRET: updateKey.secret,
        };
        const there = createDnsChallenges({
          provider: await rfc2136.create(credentials, testContext()),
          lookup: { exchange, resolvers: [at], authoritativePort: at.port },
          sleep: testContext().sleep,
          now: () => performance.now(),
        });
        const name = '_acme-challenge.chat.example.org';
        await there.present(name, 'one', real);
        await there.present(name, 'two', real);
        expect((await server.truth(name, 'TXT'))?.values).toEqual(['one', 'two'].map(txtValue));
        await there.remove(name, 'one', real);
        expect((await server.truth(name, 'TXT'))?.values).toEqual([txtValue('two')]);
        await there.remove(name, 'two', real);
        expect(await server.truth(name, 'TXT')).toBeNull();
      } finally {
        await server.close();
      }
    });
  },
);
