/** The address keeper by signed updates to real servers: Knot with a secondary, and BIND. */
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import type { DnsAccess } from '../../../appliance/dns/access.ts';
import { createAddressKeeper } from '../../../appliance/dns/address-keeper.ts';
import { classes, emptyMessage, type Message } from '../../../appliance/dns/message.ts';
import { exchange } from '../../../appliance/dns/exchange.ts';
import { askOutside, type AddressSource } from '../../../appliance/dns/outside-address.ts';
import { rfc2136 } from '../../../appliance/dns/providers/rfc2136.ts';
import { hasProgram, type RealServer, startBind, updateKey } from '../../fakes/dns/authoritative.ts';
import { startSmallInternet } from '../../fakes/dns/internet.ts';
import { testContext } from './providers/conformance.ts';

const chat = 'chat.example.org';

function credentials(nameServer: string) {
  return {
    RFC2136_NAMESERVER: nameServer,
    RFC2136_TSIG_KEY: updateKey.name,
    RFC2136_TSIG_SECRET: updateKey.secret,
  };
}

/** Runs a keeper for so many minutes of its own clock; between looks the servers get real time. */
async function keep(access: DnsAccess, minutes: number, ipv4: (minute: number) => string): Promise<void> {
  const stop = new AbortController();
  let nowMs = 0;
  const keeper = createAddressKeeper({
    access,
    domainName: chat,
    network: { ipv4: 'dhcp', ipv6: 'off' },
    clock: {
      monotonicMs: () => nowMs,
      sleep: async (ms) => {
        nowMs += ms;
        await delay(200);
        if (nowMs > minutes * 60_000) stop.abort();
      },
    },
    log: silentLog,
    sources: {
      own: async () => ({ ipv4: [ipv4(nowMs / 60_000)], ipv6: [] }),
      router: async () => null,
      outside: async () => null,
    },
  });
  await keeper.run(stop.signal);
  expect(keeper.status().problem).toBeNull();
}

const address = async (server: RealServer) => server.truth(chat, 'A');

describe.skipIf(!(hasProgram('knotd') && hasProgram('unbound')) && process.env.CI === undefined)(
  'createAddressKeeper, with Knot',
  () => {
    test('publishes, follows a change, and the public server tells it', async () => {
      const internet = await startSmallInternet();
      try {
        const { lookup, provider, now } = internet.world;
        const access = {
          provider: await rfc2136.create(credentials(internet.hiddenPrimary), provider),
          lookup,
          sleep: provider.sleep,
          now,
        };
        await keep(access, 3, () => '198.44.0.1');
        await expect
          .poll(() => address(internet.secondary), { timeout: 20_000 })
          .toEqual({ ttlSec: 300, values: ['198.44.0.1'] });
        await keep(access, 20, (minute) => (minute < 5 ? '198.44.0.1' : '198.44.0.2'));
        await expect
          .poll(() => address(internet.secondary), { timeout: 20_000 })
          .toEqual({ ttlSec: 300, values: ['198.44.0.2'] });
      } finally {
        await internet.close();
      }
    });
  },
);

describe.skipIf(!hasProgram('named') && process.env.CI === undefined)(
  'createAddressKeeper, with BIND',
  () => {
    test('publishes and follows a change', async () => {
      const server = await startBind(['example.org']);
      try {
        // BIND itself is all the internet there is: its own resolver, and the server of the zone.
        const at = { address: server.address, port: server.port };
        const access: DnsAccess = {
          provider: await rfc2136.create(credentials(`${at.address}:${at.port}`), testContext()),
          lookup: { exchange, resolvers: [at], authoritativePort: server.port },
          sleep: testContext().sleep,
          now: () => performance.now(),
        };
        await keep(access, 3, () => '198.44.0.1');
        expect(await address(server)).toEqual({ ttlSec: 300, values: ['198.44.0.1'] });
        await keep(access, 20, (minute) => (minute < 5 ? '198.44.0.1' : '198.44.0.2'));
        expect(await address(server)).toEqual({ ttlSec: 300, values: ['198.44.0.2'] });
      } finally {
        await server.close();
      }
    });

    test('a question of class CHAOS over TCP is asked and answered as servers do', async () => {
      const server = await startBind(['example.org']);
      try {
        const question = { name: 'version.bind', type: 'TXT', class: classes.chaos };
        const query: Message = { ...emptyMessage, recursionDesired: true, questions: [question] };
        const at = { address: server.address, port: server.port };
        const reply = await exchange(at, query, { signal: AbortSignal.timeout(5000), tcp: true });
        expect(reply.answers[0]).toMatchObject({ name: 'version.bind', type: 'TXT', class: classes.chaos });
        const source = (name: string): AddressSource => ({
          title: name,
          server: at,
          question: { name, type: 'A', class: classes.in },
        });
        // What is no public address counts for nothing.
        const sources = [source('ns1.example.org'), source('ns1.example.org')];
        expect(await askOutside(exchange, AbortSignal.timeout(5000), sources)).toBeNull();
      } finally {
        await server.close();
      }
    });
  },
);
