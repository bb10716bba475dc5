/**
 * The one suite every DNS provider passes: the words of appliance/dns/provider.ts, as tests. Real servers
 * and fakes of the commercial ones bring a harness each.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { txtValue } from '../../../../appliance/contract/dns-records.ts';
import {
  type DnsProvider,
  type HeldRecordSet,
  type ProviderContext,
  ProviderError,
  type Zone,
} from '../../../../appliance/dns/provider.ts';
import { canonicalValue } from '../../../../appliance/dns/rdata.ts';

export interface ProviderHarness {
  readonly provider: DnsProvider;
  /** The same provider with credentials nobody knows. */
  readonly stranger: DnsProvider;
  /** The secret of `stranger`, which no message may show. */
  readonly strangerSecret: string;
  /** Served; `child.<zone>` is served as a zone of its own. */
  readonly zone: string;
  /** What the server holds, seen past the provider: canonical values, or null. */
  truth(name: string, type: string): Promise<{ ttlSec: number; values: readonly string[] } | null>;
  close(): Promise<void>;
}

const real = { signal: new AbortController().signal };

/** A context whose pauses take no time, but still obey the signal. */
export function testContext(baseUrl?: string, pauses: number[] = []): ProviderContext {
  return {
    fetch: globalThis.fetch,
    clock: () => new Date(),
    sleep: async (ms, signal) => {
      signal.throwIfAborted();
      pauses.push(ms);
    },
    ...(baseUrl === undefined ? {} : { baseUrl }),
  };
}

/** 392 base64 characters, as an RSA-2048 key has: longer than one TXT string. */
const longKey = 'MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A'.repeat(12).slice(0, 392);

export function providerConformance(title: string, start: () => Promise<ProviderHarness>): void {
  describe(title, () => {
    let harness: ProviderHarness;
    let zone: Zone;
    const at = (label: string) => `${label}.${harness.zone}`;
    const set = (name: string, type: string, values: readonly string[], ttlSec = 3600): HeldRecordSet => ({
      name,
      type,
      ttlSec,
      values,
    });
    const values = async (name: string, type: string) => {
      const found = await harness.truth(name, type);
      return found === null ? null : [...found.values].sort();
    };
    const sorted = (type: string, list: readonly string[]) =>
      list.map((one) => canonicalValue(type, one)).sort();

    beforeAll(async () => {
      harness = await start();
      zone = await harness.provider.findZone(harness.zone, real);
    });
    afterAll(async () => {
      await harness?.close();
    });

    test('finds the zone of its own name, of a name below, and of one far below', async () => {
      expect(zone.name).toBe(harness.zone);
      for (const name of [at('chat'), at('a.b.c')]) {
        expect((await harness.provider.findZone(name, real)).name).toBe(harness.zone);
      }
    });

    test('prefers the zone with the longest name', async () => {
      const found = await harness.provider.findZone(at('chat.child'), real);
      expect(found.name).toBe(at('child'));
    });

    test('says zone-not-found for a name it does not serve', async () => {
      await expect(harness.provider.findZone('chat.example.invalid', real)).rejects.toMatchObject({
        name: 'ProviderError',
        code: 'zone-not-found',
      });
    });

    test('holds every type a relay wants, and reads it back in canonical form', async () => {
      const wanted = [
        set(at('all'), 'A', ['192.0.2.1']),
        set(at('all'), 'AAAA', ['2001:db8::1']),
        set(at('all'), 'MX', [`10 ${at('all')}.`]),
        set(at('all'), 'TXT', [txtValue('v=spf1 a ~all')]),
        set(at('all'), 'CAA', [
          '0 issue "letsencrypt.org;accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/123456"',
        ]),
        set(at('opendkim._domainkey.all'), 'TXT', [txtValue(`v=DKIM1;k=rsa;p=${longKey};s=email;t=s`)]),
        set(at('www.all'), 'CNAME', [`${at('all')}.`]),
        set(at('_imaps._tcp.all'), 'SRV', [`0 1 993 ${at('all')}.`]),
        set(at('_25._tcp.all'), 'TLSA', [`3 1 1 ${'ab'.repeat(32)}`]),
      ].filter(({ type }) => !harness.provider.unsupportedTypes.includes(type));
      await harness.provider.upsert(zone, wanted, real);
      const names = [...new Set(wanted.map(({ name }) => name))];
      const listed = await harness.provider.list(zone, names, real);
      expect(listed).toHaveLength(wanted.length);
      for (const one of wanted) {
        expect(listed).toContainEqual(one);
        expect(await values(one.name, one.type)).toEqual(sorted(one.type, one.values));
      }
    });

    test('keeps quotes, backslashes, semicolons and spaces in a text', async () => {
      const odd = [txtValue('a "quoted" word; and \\ more'), txtValue('k=v;  two  spaces ')];
      await harness.provider.upsert(zone, [set(at('odd'), 'TXT', odd)], real);
      expect(await values(at('odd'), 'TXT')).toEqual(sorted('TXT', odd));
      const listed = await harness.provider.list(zone, [at('odd')], real);
      expect([...(listed[0]?.values ?? [])].sort()).toEqual(sorted('TXT', odd));
    });

    test('lists the names asked for and no others', async () => {
      await harness.provider.upsert(
        zone,
        [
          set(at('one'), 'A', ['192.0.2.1']),
          set(at('two'), 'A', ['192.0.2.2']),
          set(at('below.one'), 'A', ['192.0.2.3']),
        ],
        real,
      );
      const listed = await harness.provider.list(zone, [at('one'), at('absent')], real);
      expect(listed).toEqual([set(at('one'), 'A', ['192.0.2.1'])]);
    });

    test('works at the name of the zone itself, and leaves its NS and SOA alone', async () => {
      await harness.provider.upsert(zone, [set(harness.zone, 'MX', ['10 mail.example.net.'])], real);
      expect(await values(harness.zone, 'MX')).toEqual(['10 mail.example.net.']);
      await harness.provider.delete(zone, [{ name: harness.zone, type: 'MX' }], real);
      expect(await values(harness.zone, 'MX')).toBeNull();
      expect((await harness.provider.findZone(harness.zone, real)).name).toBe(harness.zone);
    });

    test('an upsert makes the set exactly as given, and other types stay', async () => {
      const name = at('exact');
      const texts = ['other=1', 'v=spf1 -all', 'third'].map(txtValue);
      await harness.provider.upsert(
        zone,
        [
          set(name, 'TXT', texts),
          set(name, 'A', ['192.0.2.1', '192.0.2.2']),
          set(name, 'MX', ['5 mx.example.net.']),
        ],
        real,
      );
      const next = [txtValue('other=1'), txtValue('v=spf1 a ~all')];
      await harness.provider.upsert(zone, [set(name, 'TXT', next), set(name, 'A', ['192.0.2.2'])], real);
      expect(await values(name, 'TXT')).toEqual(sorted('TXT', next));
      expect(await values(name, 'A')).toEqual(['192.0.2.2']);
      expect(await values(name, 'MX')).toEqual(['5 mx.example.net.']);
      const more = ['192.0.2.2', '192.0.2.3', '192.0.2.4'];
      await harness.provider.upsert(zone, [set(name, 'A', more)], real);
      expect(await values(name, 'A')).toEqual(more);
    });

    test('doing the same upsert again changes nothing', async () => {
      const sets = [
        set(at('again'), 'TXT', [txtValue('one'), txtValue('two')], 7200),
        set(at('again'), 'MX', ['10 a.example.net.', '20 b.example.net.'], 7200),
      ];
      await harness.provider.upsert(zone, sets, real);
      const before = await harness.provider.list(zone, [at('again')], real);
      await harness.provider.upsert(zone, sets, real);
      expect(await harness.provider.list(zone, [at('again')], real)).toEqual(before);
      expect(await values(at('again'), 'TXT')).toEqual(sorted('TXT', [txtValue('one'), txtValue('two')]));
    });

    test('a change of the TTL alone is made', async () => {
      await harness.provider.upsert(zone, [set(at('ttl'), 'A', ['192.0.2.1'], 3600)], real);
      await harness.provider.upsert(zone, [set(at('ttl'), 'A', ['192.0.2.1'], 7200)], real);
      expect((await harness.truth(at('ttl'), 'A'))?.ttlSec).toBe(7200);
    });

    test('a TTL below the minimum is raised to it', async () => {
      await harness.provider.upsert(zone, [set(at('low'), 'A', ['192.0.2.1'], 5)], real);
      const ttlSec = (await harness.truth(at('low'), 'A'))?.ttlSec;
      expect(ttlSec).toBe(Math.max(5, harness.provider.minimumTtlSec));
    });

    test('a delete takes the whole set, nothing beside it, and is no error when there is none', async () => {
      await harness.provider.upsert(
        zone,
        [set(at('gone'), 'A', ['192.0.2.1', '192.0.2.2']), set(at('gone'), 'TXT', [txtValue('stays')])],
        real,
      );
      await harness.provider.delete(
        zone,
        [
          { name: at('gone'), type: 'A' },
          { name: at('never-was'), type: 'MX' },
        ],
        real,
      );
      expect(await values(at('gone'), 'A')).toBeNull();
      expect(await values(at('gone'), 'TXT')).toEqual([txtValue('stays')]);
    });

    test('a CNAME where something else stands is a conflict, and what stands stays', async () => {
      await harness.provider.upsert(zone, [set(at('taken'), 'A', ['192.0.2.1'])], real);
      const attempt = harness.provider.upsert(zone, [set(at('taken'), 'CNAME', [`${harness.zone}.`])], real);
      await expect(attempt).rejects.toMatchObject({ name: 'ProviderError', code: 'conflict' });
      expect(await values(at('taken'), 'A')).toEqual(['192.0.2.1']);
    });

    test('something else where a CNAME stands is a conflict too', async () => {
      await harness.provider.upsert(zone, [set(at('alias'), 'CNAME', [`${harness.zone}.`])], real);
      const attempt = harness.provider.upsert(zone, [set(at('alias'), 'A', ['192.0.2.9'])], real);
      await expect(attempt).rejects.toMatchObject({ name: 'ProviderError', code: 'conflict' });
      expect(await values(at('alias'), 'CNAME')).toEqual([`${harness.zone}.`]);
    });

    test('a set without values is a mistake of the caller', async () => {
      await expect(harness.provider.upsert(zone, [set(at('none'), 'A', [])], real)).rejects.toThrow(
        RangeError,
      );
    });

    test('nothing to do is done', async () => {
      await harness.provider.upsert(zone, [], real);
      await harness.provider.delete(zone, [], real);
      expect(await harness.provider.list(zone, [], real)).toEqual([]);
    });

    test('an atomic provider does a call wholly or not at all', async () => {
      if (!harness.provider.atomic) return;
      await harness.provider.upsert(zone, [set(at('solid'), 'A', ['192.0.2.1'])], real);
      const attempt = harness.provider.upsert(
        zone,
        [set(at('fresh'), 'A', ['192.0.2.1']), set(at('solid'), 'CNAME', [`${harness.zone}.`])],
        real,
      );
      await expect(attempt).rejects.toThrow(ProviderError);
      expect(await values(at('fresh'), 'A')).toBeNull();
      expect(await values(at('solid'), 'A')).toEqual(['192.0.2.1']);
    });

    test('an aborted signal stops every verb before it changes anything', async () => {
      const signal = AbortSignal.abort(new Error('stop here'));
      const { provider } = harness;
      await expect(provider.findZone(at('chat'), { signal })).rejects.toThrow('stop here');
      await expect(provider.list(zone, [at('one')], { signal })).rejects.toThrow('stop here');
      await expect(
        provider.upsert(zone, [set(at('aborted'), 'A', ['192.0.2.1'])], { signal }),
      ).rejects.toThrow('stop here');
      await expect(provider.delete(zone, [{ name: at('one'), type: 'A' }], { signal })).rejects.toThrow(
        'stop here',
      );
      expect(await values(at('aborted'), 'A')).toBeNull();
    });

    test('wrong credentials are called that, and no message shows them', async () => {
      const { stranger, strangerSecret } = harness;
      const error: unknown = await stranger.findZone(at('chat'), real).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ name: 'ProviderError', code: 'wrong-credentials' });
      expect(`${String(error)} ${(error as ProviderError).fix}`).not.toContain(strangerSecret);
    });
  });
}
