/** The address keeper with a provider's fake, in a world whose name servers answer what the fake holds. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLog } from '../../../appliance/base/log.ts';
import {
  type AddressKeeperOptions,
  type AddressSources,
  createAddressKeeper,
} from '../../../appliance/dns/address-keeper.ts';
import { cloudflare } from '../../../appliance/dns/providers/cloudflare.ts';
import { startCloudflare } from '../../fakes/dns/cloudflare.ts';
import { type FakeWorldOptions, fakeWorld } from '../../fakes/dns/world.ts';

const zone = 'example.org';
const chat = `chat.${zone}`;
const token = 'the-token-of-the-device';
let fake: Awaited<ReturnType<typeof startCloudflare>>;

beforeEach(async () => {
  fake = await startCloudflare(token, [zone]);
});
afterEach(() => fake.close());

interface Seen {
  readonly ipv4?: readonly string[];
  readonly ipv6?: readonly string[];
  readonly router?: string | null;
  readonly outside?: string | null;
}

/** A keeper on a clock that passes only while it sleeps; `at` is called with the minutes before each look. */
async function keep(
  minutes: number,
  at: (minute: number) => Seen,
  more: Partial<AddressKeeperOptions> & FakeWorldOptions = {},
) {
  const { lookup, provider, now } = fakeWorld(fake, zone, more);
  const stop = new AbortController();
  const log: Record<string, unknown>[] = [];
  const asked: string[] = [];
  let nowMs = 1000;
  const seen = () => at((nowMs - 1000) / 60_000);
  const sources: AddressSources = {
    own: async () => ({ ipv4: seen().ipv4 ?? [], ipv6: seen().ipv6 ?? [] }),
    router: async () => (asked.push('router'), seen().router ?? null),
    outside: async () => (asked.push('outside'), seen().outside ?? null),
  };
  const keeper = createAddressKeeper({
    access: {
      provider: await cloudflare.create({ CLOUDFLARE_API_TOKEN: token }, provider),
      lookup,
      sleep: provider.sleep,
      now,
    },
    domainName: chat,
    network: { ipv4: 'dhcp', ipv6: 'auto' },
    clock: {
      monotonicMs: () => nowMs,
      sleep: async (ms) => {
        nowMs += ms;
        if (nowMs > 1000 + minutes * 60_000) stop.abort();
      },
    },
    log: createLog('dns', (line) => log.push(JSON.parse(line) as Record<string, unknown>)),
    sources,
    ...more,
  });
  await keeper.run(stop.signal);
  return { status: keeper.status(), log, asked };
}

const held = (type: string) => fake.store.setOf(zone, chat, type).map(({ value }) => value);
const add = (type: string, value: string, proxied = false) =>
  fake.store.add({ zone, name: chat, type, value, ttlSec: 3600, ...(proxied && { proxied }) });
const writes = () => fake.requests.filter(({ method }) => method !== 'GET');

describe('createAddressKeeper', () => {
  test('publishes what it has within a minute of the start, for five minutes to be remembered', async () => {
    const { status, log } = await keep(1, () => ({ ipv4: ['198.44.0.1'], ipv6: ['2a01:4f8::1'] }));
    expect(held('A')).toEqual(['198.44.0.1']);
    expect(held('AAAA')).toEqual(['2a01:4f8::1']);
    expect(fake.store.setOf(zone, chat, 'A')).toMatchObject([{ ttlSec: 300 }]);
    expect(status).toEqual({ ipv4: '198.44.0.1', ipv6: '2a01:4f8::1', problem: null });
    expect(log.map(({ event }) => event)).toEqual(['address published', 'address published']);
  });

  test('does nothing where all is as it should be, whatever the TTL', async () => {
    add('A', '198.44.0.1');
    await keep(60, () => ({ ipv4: ['198.44.0.1'] }));
    expect(fake.requests).toEqual([]);
  });

  test('follows a new address within ten minutes', async () => {
    add('A', '198.44.0.1');
    await keep(40, (minute) => ({ outside: minute < 30 ? '198.44.0.1' : '198.44.0.2' }));
    expect(held('A')).toEqual(['198.44.0.2']);
    expect(writes()).toHaveLength(1);
  });

  test('keeps the records when nothing can be seen', async () => {
    add('A', '198.44.0.1');
    add('AAAA', '2a01:4f8::1');
    const { status } = await keep(120, () => ({}));
    expect([held('A'), held('AAAA'), writes()]).toEqual([['198.44.0.1'], ['2a01:4f8::1'], []]);
    expect(status).toEqual({ ipv4: null, ipv6: null, problem: null });
  });

  test('believes the interface over the router, and the router over the others, unless it is behind one', async () => {
    expect((await keep(1, () => ({ ipv4: ['198.44.0.1'], router: '198.44.0.2' }))).asked).toEqual([]);
    expect(held('A')).toEqual(['198.44.0.1']);
    fake.store.records = [];
    const routed = await keep(1, () => ({ router: '198.44.0.2', outside: '198.44.0.3' }));
    expect(routed.asked).not.toContain('outside');
    expect(held('A')).toEqual(['198.44.0.2']);
    fake.store.records = [];
    await keep(1, () => ({ router: '100.64.0.2', outside: '198.44.0.3' }));
    expect(held('A')).toEqual(['198.44.0.3']);
  });

  test('leaves a family alone that is off', async () => {
    const network = { ipv4: 'off', ipv6: 'off' } as const;
    const { asked } = await keep(5, () => ({ ipv4: ['198.44.0.1'], ipv6: ['2a01:4f8::1'] }), { network });
    expect([asked, writes()]).toEqual([[], []]);
  });

  test('of several own addresses stays with the published one', async () => {
    add('AAAA', '2a01:4f8::2');
    await keep(30, () => ({ ipv6: ['2a01:4f8::1', '2a01:4f8::2'] }));
    expect(writes()).toEqual([]);
  });

  test('asks a person where it cannot tell which record to replace', async () => {
    add('A', '198.44.0.8');
    add('A', '198.44.0.9');
    const { status, log } = await keep(30, () => ({ ipv4: ['198.44.0.1'] }));
    expect(status.problem).toContain('has several A records, and none of them is 198.44.0.1');
    expect(log).toHaveLength(1);
    expect(writes()).toEqual([]);
  });

  test('does not take the name from behind a proxy', async () => {
    add('A', '198.44.0.1', true);
    const frozen = [`${chat} 300 A 104.16.0.1`];
    const { status } = await keep(30, () => ({ ipv4: ['198.44.0.1'] }), { frozen });
    expect(status.problem).toContain('"dns push --replace"');
    expect(writes()).toEqual([]);
  });

  test('asks a provider that refuses less and less often, and goes on when it does not', async () => {
    let refused = 0;
    const at = (minute: number): Seen => {
      if (minute < 120) {
        fake.faults.length = 0;
        fake.faults.push({ status: 403, json: { success: false, errors: [{ code: 9109, message: 'No' }] } });
      } else fake.faults.length = 0;
      return { ipv4: ['198.44.0.1'] };
    };
    const before = await keep(119, at);
    refused = fake.requests.length;
    expect(before.status.problem).toContain('Cloudflare');
    expect(before.log).toHaveLength(1);
    // After 1, 3, 7, 15, 31 and 63 minutes, and the first time.
    expect(refused).toBe(7);
    await keep(5, () => at(200));
    expect(held('A')).toEqual(['198.44.0.1']);
  });

  test('says that the name servers cannot be asked, and asks again', async () => {
    const { status, log } = await keep(30, () => ({ ipv4: ['198.44.0.1'] }), {
      table: { resolverDown: true },
    });
    expect(status.problem).toContain('No DNS resolver answers');
    expect(log).toHaveLength(1);
    expect(fake.requests).toEqual([]);
  });
});
