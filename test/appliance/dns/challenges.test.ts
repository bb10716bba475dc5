/** dns-01 records at a provider's fake, in a world whose name servers answer what the fake holds. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { txtValue } from '../../../appliance/contract/dns-records.ts';
import type { DnsAccess } from '../../../appliance/dns/access.ts';
import { createDnsChallenges } from '../../../appliance/dns/challenges.ts';
import { desec } from '../../../appliance/dns/providers/desec.ts';
import { startDesec } from '../../fakes/dns/desec.ts';
import { type FakeWorldOptions, fakeWorld } from '../../fakes/dns/world.ts';

const zone = 'example.org';
const name = `_acme-challenge.chat.${zone}`;
const token = 'the-token-of-the-device';
const real = new AbortController().signal;
let fake: Awaited<ReturnType<typeof startDesec>>;

beforeEach(async () => {
  fake = await startDesec(token, [zone, 'delegated.net']);
});
afterEach(() => fake.close());

async function access(options: FakeWorldOptions = {}): Promise<DnsAccess> {
  const { lookup, provider, now } = fakeWorld(fake, zone, options);
  return {
    lookup,
    sleep: provider.sleep,
    now,
    provider: await desec.create({ DESEC_TOKEN: token }, provider),
  };
}
const held = (at = name, of = zone) => fake.store.setOf(of, at, 'TXT').map(({ value }) => value);

describe('createDnsChallenges', () => {
  test('puts a value beside those that are there, and takes away its own only', async () => {
    fake.store.add({ zone, name, type: 'TXT', value: txtValue('of another client'), ttlSec: 7200 });
    const challenges = createDnsChallenges(await access());
    await challenges.present(name, 'first', real);
    await challenges.present(name, 'first', real);
    await challenges.present(`${name.toUpperCase()}.`, 'second', real);
    expect(held().sort()).toEqual(['of another client', 'first', 'second'].map(txtValue).sort());
    await challenges.remove(name, 'first', real);
    await challenges.remove(name, 'never was', real);
    expect(held().sort()).toEqual(['of another client', 'second'].map(txtValue).sort());
    expect(fake.store.setOf(zone, name, 'TXT')).toMatchObject([{ ttlSec: 7200 }, { ttlSec: 7200 }]);
  });

  test('leaves nothing behind where nothing was', async () => {
    const challenges = createDnsChallenges(await access());
    await challenges.present(name, 'only', real);
    await challenges.remove(name, 'only', real);
    expect(fake.store.of(zone).filter(({ type }) => type === 'TXT')).toEqual([]);
  });

  test('loses none of two that are made at once', async () => {
    const challenges = createDnsChallenges(await access());
    await Promise.all(['one', 'two', 'three'].map((value) => challenges.present(name, value, real)));
    expect(held().sort()).toEqual(['one', 'three', 'two'].map(txtValue));
    await Promise.all(['one', 'two', 'three'].map((value) => challenges.remove(name, value, real)));
    expect(held()).toEqual([]);
  });

  test('goes on after a call that failed', async () => {
    const challenges = createDnsChallenges(await access());
    fake.faults.push({ status: 403, json: { detail: 'No.' } });
    const failed = challenges.present(name, 'one', real);
    const next = challenges.present(name, 'two', real);
    await expect(failed).rejects.toMatchObject({ code: 'not-allowed' });
    await next;
    expect(held()).toEqual([txtValue('two')]);
  });

  test('follows a CNAME into another zone', async () => {
    const target = 'chat.challenges.delegated.net';
    fake.store.add({ zone, name, type: 'CNAME', value: `${target}.`, ttlSec: 3600 });
    const outside = {
      org: { servers: { 'a.org-servers.net': ['192.0.2.100'] }, records: [] },
      net: { servers: { 'a.net-servers.net': ['192.0.2.101'] }, records: [] },
      [zone]: {
        servers: { 'ns1.provider.test': ['192.0.2.1'] },
        records: [`${name} 3600 CNAME ${target}.`],
      },
      'delegated.net': {
        servers: { 'ns9.provider.test': ['192.0.2.9'] },
        get records() {
          return held(target, 'delegated.net').map((value) => `${target} 60 TXT ${value}`);
        },
      },
    };
    const challenges = createDnsChallenges(await access({ table: { zones: outside } }));
    await challenges.present(name, 'there', real);
    expect(held(target, 'delegated.net')).toEqual([txtValue('there')]);
    expect(held()).toEqual([]);
    await challenges.remove(name, 'there', real);
    expect(held(target, 'delegated.net')).toEqual([]);
  });

  test('says after five minutes which server does not have it', async () => {
    const challenges = createDnsChallenges(await access({ frozen: [] }));
    await expect(challenges.present(name, 'unseen', real)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`${name} TXT on ns1.provider.test (192.0.2.1)`),
    });
  });

  test('stops when it is told to', async () => {
    const challenges = createDnsChallenges(await access());
    const signal = AbortSignal.abort(new Error('stop here'));
    await expect(challenges.present(name, 'x', signal)).rejects.toThrow('stop here');
    await expect(challenges.remove(name, 'x', signal)).rejects.toThrow('stop here');
  });
});
