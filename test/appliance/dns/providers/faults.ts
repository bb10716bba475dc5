/** What every provider behind HTTP must do when the other side is slow, busy, down or odd. */
import { describe, expect, test } from 'vitest';
import type { DnsProvider, ProviderContext } from '../../../../appliance/dns/provider.ts';
import type { HttpFake } from '../../../fakes/dns/http-fake.ts';
import { testContext } from './conformance.ts';

export interface FaultHarness {
  readonly fake: HttpFake;
  readonly create: (context: ProviderContext) => Promise<DnsProvider>;
  readonly zone: string;
  readonly secret: string;
}

export function providerFaults(title: string, start: () => Promise<FaultHarness>): void {
  describe(`${title} when things go wrong`, () => {
    const scene = async (
      work: (it: FaultHarness, provider: DnsProvider, pauses: number[]) => Promise<void>,
    ) => {
      const harness = await start();
      const pauses: number[] = [];
      try {
        await work(harness, await harness.create(testContext(harness.fake.baseUrl, pauses)), pauses);
      } finally {
        await harness.fake.close();
      }
    };
    const signal = AbortSignal.timeout(15_000);

    test('a short rate limit is waited out as long as it says', () =>
      scene(async ({ fake, zone }, provider, pauses) => {
        fake.faults.push({ status: 429, headers: { 'retry-after': '7' }, json: {} });
        expect((await provider.findZone(zone, { signal })).name).toBe(zone);
        expect(pauses).toEqual([7000]);
      }));

    test('a long rate limit is not waited out', () =>
      scene(async ({ fake, zone }, provider) => {
        fake.faults.push({ status: 429, headers: { 'retry-after': '86400' }, json: {} });
        await expect(provider.findZone(zone, { signal })).rejects.toMatchObject({ code: 'rate-limited' });
      }));

    test('a passing fault is tried again, a lasting one is called unavailable', () =>
      scene(async ({ fake, zone }, provider, pauses) => {
        fake.faults.push({ status: 503, text: 'upstream' }, 'drop');
        expect((await provider.findZone(zone, { signal })).name).toBe(zone);
        expect(pauses).toEqual([1000, 2000]);
        fake.faults.push(...Array.from({ length: 20 }, () => ({ status: 502, text: '<html>' })));
        await expect(provider.findZone(zone, { signal })).rejects.toMatchObject({ code: 'unavailable' });
      }));

    test('a token without the right is told from a wrong one', () =>
      scene(async ({ fake, zone }, provider) => {
        fake.faults.push(...Array.from({ length: 4 }, () => ({ status: 403, json: {} })));
        await expect(provider.findZone(zone, { signal })).rejects.toMatchObject({ code: 'not-allowed' });
      }));

    test('an answer that is none is called that', () =>
      scene(async ({ fake, zone }, provider) => {
        const found = await provider.findZone(zone, { signal });
        fake.faults.push(...Array.from({ length: 4 }, () => ({ status: 200, text: '{"surprise":true}' })));
        await expect(provider.list(found, [zone], { signal })).rejects.toMatchObject({ code: 'unexpected' });
      }));

    test('no message shows a secret that the other side repeats', () =>
      scene(async ({ fake, zone, secret }, provider) => {
        const text = JSON.stringify({
          message: `token ${secret} is bad`,
          detail: `token ${secret} is bad`,
          error: { code: 'x', message: `token ${secret} is bad` },
          errors: [{ code: 1, message: `token ${secret} is bad` }],
          status: 'ERROR',
        });
        fake.faults.push(...Array.from({ length: 4 }, () => ({ status: 400, text })));
        const error: unknown = await provider.findZone(zone, { signal }).catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(Error);
        expect(String(error)).not.toContain(secret);
      }));

    test('an abort ends a request that hangs', () =>
      scene(async ({ fake, zone }, provider) => {
        fake.faults.push('hang');
        const controller = new AbortController();
        const attempt = provider.findZone(zone, { signal: controller.signal });
        const stopped = expect(attempt).rejects.toThrow('enough');
        while (fake.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
        controller.abort(new Error('enough'));
        await stopped;
      }));
  });
}
