/** The commercial providers against fakes of their documented interfaces. */
import { describe, expect, test } from 'vitest';
import { txtValue } from '../../../../appliance/contract/dns-records.ts';
import { providerOfNameServers, providers } from '../../../../appliance/dns/providers/index.ts';
import type { ProviderContext } from '../../../../appliance/dns/provider.ts';
import { startCloudflare } from '../../../fakes/dns/cloudflare.ts';
import { startDesec } from '../../../fakes/dns/desec.ts';
import { startDigitalocean } from '../../../fakes/dns/digitalocean.ts';
import { startGandi } from '../../../fakes/dns/gandi.ts';
import { startHetzner } from '../../../fakes/dns/hetzner.ts';
import type { HttpFake, ZoneStore } from '../../../fakes/dns/http-fake.ts';
import { startOvh } from '../../../fakes/dns/ovh.ts';
import { startPorkbun } from '../../../fakes/dns/porkbun.ts';
import { startRoute53 } from '../../../fakes/dns/route53.ts';
import { providerConformance, testContext } from './conformance.ts';
import { providerFaults } from './faults.ts';

const zone = 'example.org';
const zones = [zone, `child.${zone}`, 'unrelated.net'];
const secret = 'a-secret-that-the-fake-knows';
const strangerSecret = 'a-secret-that-nobody-knows';
const signal = AbortSignal.timeout(60_000);

interface Fake extends HttpFake {
  readonly store: ZoneStore;
  readonly truth?: (name: string, type: string) => { ttlSec: number; values: readonly string[] } | null;
}

interface Subject {
  readonly name: string;
  readonly start: () => Promise<Fake>;
  readonly credentials: (secret: string) => Record<string, string>;
}

const subjects: readonly Subject[] = [
  {
    name: 'cloudflare',
    start: () => startCloudflare(secret, zones),
    credentials: (token) => ({ CLOUDFLARE_API_TOKEN: token }),
  },
  { name: 'desec', start: () => startDesec(secret, zones), credentials: (token) => ({ DESEC_TOKEN: token }) },
  {
    name: 'digitalocean',
    start: () => startDigitalocean(secret, zones),
    credentials: (token) => ({ DIGITALOCEAN_TOKEN: token }),
  },
  {
    name: 'gandi',
    start: () => startGandi(secret, zones),
    credentials: (token) => ({ GANDIV5_PERSONAL_ACCESS_TOKEN: token }),
  },
  {
    name: 'hetzner',
    start: () => startHetzner(secret, zones),
    credentials: (token) => ({ HCLOUD_TOKEN: token }),
  },
  {
    name: 'ovh',
    start: () => startOvh({ application: 'app', secret, consumer: 'consumer' }, zones),
    credentials: (key) => ({
      OVH_APPLICATION_KEY: 'app',
      OVH_APPLICATION_SECRET: key,
      OVH_CONSUMER_KEY: 'consumer',
    }),
  },
  {
    name: 'porkbun',
    start: () => startPorkbun({ api: 'pk1_api', secret }, zones),
    credentials: (key) => ({ PORKBUN_API_KEY: 'pk1_api', PORKBUN_SECRET_API_KEY: key }),
  },
  {
    name: 'route53',
    start: () => startRoute53({ id: 'AKIAFAKE', secret }, zones),
    credentials: (key) => ({ AWS_ACCESS_KEY_ID: 'AKIAFAKE', AWS_SECRET_ACCESS_KEY: key }),
  },
];

function definitionOf(name: string) {
  const definition = providers.find((one) => one.name === name);
  if (definition === undefined) throw new Error(`No provider ${name}`);
  return definition;
}

for (const { name, start, credentials } of subjects) {
  const create = (key: string, context: ProviderContext) =>
    definitionOf(name).create(credentials(key), context);

  providerConformance(name, async () => {
    const fake = await start();
    const context = testContext(fake.baseUrl);
    return {
      provider: await create(secret, context),
      stranger: await create(strangerSecret, context),
      strangerSecret,
      zone,
      truth: async (at, type) => fake.truth?.(at, type) ?? (fake.truth ? null : fake.store.truth(at, type)),
      close: () => fake.close(),
    };
  });

  providerFaults(name, async () => ({
    fake: await start(),
    create: (context) => create(secret, context),
    zone,
    secret,
  }));

  test(`${name} reads a zone of many pages`, async () => {
    const fake = await start();
    try {
      fake.store.fill(zone, 1234);
      fake.store.add({ zone, name: `last.${zone}`, type: 'MX', value: '10 last.example.org.', ttlSec: 3600 });
      const provider = await create(secret, testContext(fake.baseUrl));
      const found = await provider.findZone(zone, { signal });
      const names = [`last.${zone}`, `filler0.${zone}`, `filler1233.${zone}`];
      expect(await provider.list(found, names, { signal })).toHaveLength(3);
    } finally {
      await fake.close();
    }
  });
}

describe('cloudflare', () => {
  test('sees a proxied record as altered, and makes it a plain one', async () => {
    const fake = await startCloudflare(secret, zones);
    try {
      fake.store.add({ zone, name: `chat.${zone}`, type: 'A', value: '192.0.2.1', ttlSec: 1, proxied: true });
      const provider = await definitionOf('cloudflare').create(
        { CLOUDFLARE_API_TOKEN: secret },
        testContext(fake.baseUrl),
      );
      const found = await provider.findZone(zone, { signal });
      const proxied = {
        name: `chat.${zone}`,
        type: 'A',
        ttlSec: 300,
        values: ['192.0.2.1'],
        altered: 'proxied',
      };
      expect(await provider.list(found, [`chat.${zone}`], { signal })).toEqual([proxied]);
      await provider.upsert(
        found,
        [{ name: `chat.${zone}`, type: 'A', ttlSec: 3600, values: ['192.0.2.1'] }],
        { signal },
      );
      expect(fake.store.setOf(zone, `chat.${zone}`, 'A')).toMatchObject([{ proxied: false, ttlSec: 3600 }]);
    } finally {
      await fake.close();
    }
  });
});

describe('route53', () => {
  const scene = async () => {
    const fake = await startRoute53({ id: 'AKIAFAKE', secret }, zones);
    const provider = await definitionOf('route53').create(
      { AWS_ACCESS_KEY_ID: 'AKIAFAKE', AWS_SECRET_ACCESS_KEY: secret },
      testContext(fake.baseUrl),
    );
    return { fake, provider, found: await provider.findZone(zone, { signal }) };
  };
  const alias = {
    name: `chat.${zone}`,
    type: 'A',
    xml: `<Name>chat.${zone}.</Name><Type>A</Type><AliasTarget><HostedZoneId>Z9</HostedZoneId><DNSName>lb.example.net.</DNSName><EvaluateTargetHealth>false</EvaluateTargetHealth></AliasTarget>`,
  };
  const weighted = (identifier: string, address: string) => ({
    name: `chat.${zone}`,
    type: 'AAAA',
    xml: `<Name>chat.${zone}.</Name><Type>AAAA</Type><SetIdentifier>${identifier}</SetIdentifier><Weight>1</Weight><TTL>60</TTL><ResourceRecords><ResourceRecord><Value>${address}</Value></ResourceRecord></ResourceRecords>`,
  });

  test('an alias is shown as one, replaced by an upsert, and deleted whole', async () => {
    const { fake, provider, found } = await scene();
    try {
      fake.special.push(alias);
      const names = [`chat.${zone}`];
      expect(await provider.list(found, names, { signal })).toMatchObject([{ type: 'A', altered: 'alias' }]);
      await provider.delete(found, [{ name: `chat.${zone}`, type: 'A' }], { signal });
      expect(fake.special).toEqual([]);
      fake.special.push(alias);
      await provider.upsert(found, [{ name: `chat.${zone}`, type: 'A', ttlSec: 60, values: ['192.0.2.1'] }], {
        signal,
      });
      expect(await provider.list(found, names, { signal })).toMatchObject([
        { type: 'A', values: ['192.0.2.1'] },
      ]);
    } finally {
      await fake.close();
    }
  });

  test('sets with routing are replaced in one transaction', async () => {
    const { fake, provider, found } = await scene();
    try {
      fake.special.push(weighted('one', '2001:db8::1'), weighted('two', '2001:db8::2'));
      const set = { name: `chat.${zone}`, type: 'AAAA', ttlSec: 60, values: ['2001:db8::3'] };
      expect(await provider.list(found, [set.name], { signal })).toMatchObject([
        { altered: 'routed', values: ['2001:db8::1', '2001:db8::2'] },
      ]);
      await provider.upsert(found, [set], { signal });
      expect(await provider.list(found, [set.name], { signal })).toEqual([set]);
    } finally {
      await fake.close();
    }
  });

  test('texts with bytes beyond ASCII survive the octal spelling', async () => {
    const { fake, provider, found } = await scene();
    try {
      const set = { name: `odd.${zone}`, type: 'TXT', ttlSec: 60, values: [txtValue('grüße \\ "quoted"')] };
      await provider.upsert(found, [set], { signal });
      expect(await provider.list(found, [set.name], { signal })).toEqual([set]);
    } finally {
      await fake.close();
    }
  });
});

describe('ovh', () => {
  test("takes SPF and DKIM as the texts they are, and replaces OVH's own", async () => {
    const fake = await startOvh({ application: 'app', secret, consumer: 'consumer' }, zones);
    try {
      const value = txtValue('v=spf1 include:mx.ovh.com ~all');
      fake.store.add({ zone, name: zone, type: 'TXT', value, ttlSec: 3600 });
      const provider = await definitionOf('ovh').create(
        { OVH_APPLICATION_KEY: 'app', OVH_APPLICATION_SECRET: secret, OVH_CONSUMER_KEY: 'consumer' },
        testContext(fake.baseUrl),
      );
      const found = await provider.findZone(zone, { signal });
      const texts = (await provider.list(found, [zone], { signal })).filter(({ type }) => type === 'TXT');
      expect(texts).toEqual([{ name: zone, type: 'TXT', ttlSec: 3600, values: [value] }]);
      const next = { name: zone, type: 'TXT', ttlSec: 3600, values: [txtValue('v=spf1 a ~all')] };
      await provider.upsert(found, [next], { signal });
      expect(fake.truth(zone, 'TXT')?.values).toEqual(next.values);
    } finally {
      await fake.close();
    }
  });

  test('still signs rightly after the clock of the machine was set', async () => {
    const fake = await startOvh({ application: 'app', secret, consumer: 'consumer' }, zones);
    try {
      let behindMs = 365 * 24 * 3_600_000;
      const provider = await definitionOf('ovh').create(
        { OVH_APPLICATION_KEY: 'app', OVH_APPLICATION_SECRET: secret, OVH_CONSUMER_KEY: 'consumer' },
        { ...testContext(fake.baseUrl), clock: () => new Date(Date.now() - behindMs) },
      );
      await provider.findZone(zone, { signal });
      behindMs = 0;
      expect((await provider.findZone(zone, { signal })).name).toBe(zone);
    } finally {
      await fake.close();
    }
  });
});

describe('providerOfNameServers', () => {
  test.each([
    ['amy.ns.cloudflare.com', 'cloudflare'],
    ['ns1.desec.io', 'desec'],
    ['ns-123.awsdns-45.co.uk', 'route53'],
    ['ns-12-a.gandi.net', 'gandi'],
    ['hydrogen.ns.hetzner.com', 'hetzner'],
    ['curitiba.ns.porkbun.com', 'porkbun'],
    ['dns10.ovh.net', 'ovh'],
    ['ns1.digitalocean.com', 'digitalocean'],
  ])('knows %s', (name, provider) => {
    expect(providerOfNameServers([name])?.name).toBe(provider);
  });
  test('does not guess', () => {
    expect(providerOfNameServers(['ns1.example.org', 'notdesec.io'])).toBeUndefined();
  });
});
