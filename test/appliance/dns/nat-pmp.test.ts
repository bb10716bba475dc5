import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { askRouter, decodeNatPmpAddress, defaultRouter } from '../../../appliance/dns/nat-pmp.ts';

/** RFC 6886 §3.2: version, opcode, result, 1000 seconds since start, address. */
const answer = (result = 0) => Uint8Array.of(0, 128, 0, result, 0, 0, 3, 232, 198, 44, 0, 1);
const real = AbortSignal.timeout(20_000);

describe('decodeNatPmpAddress', () => {
  test('reads the address of a good answer', () => {
    expect(decodeNatPmpAddress(answer())).toBe('198.44.0.1');
  });

  test('takes nothing else for one', () => {
    for (const result of [1, 2, 3, 4, 5]) expect(decodeNatPmpAddress(answer(result))).toBeNull();
    for (let end = 0; end < 12; end++) expect(decodeNatPmpAddress(answer().subarray(0, end))).toBeNull();
    expect(decodeNatPmpAddress(Uint8Array.of(...answer(), 0))).toBeNull();
    // PCP (RFC 6887 §9) to a router that speaks nothing older.
    expect(decodeNatPmpAddress(Uint8Array.of(2, 128, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0))).toBeNull();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const address = decodeNatPmpAddress(bytes);
        expect(address === null || bytes.length === 12).toBe(true);
      }),
    );
  });
});

describe('askRouter', () => {
  async function router(replies: readonly (Uint8Array | null)[]) {
    const socket = createSocket('udp4');
    const requests: Uint8Array[] = [];
    socket.on('message', (datagram, { port, address }) => {
      const reply = replies[requests.push(datagram) - 1];
      if (reply !== undefined && reply !== null) socket.send(reply, port, address);
    });
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return { requests, port: socket.address().port, [Symbol.dispose]: () => socket.close() };
  }

  test('asks again when an answer is lost, and passes over what is none', async () => {
    using there = await router([null, Uint8Array.of(1, 2, 3), answer()]);
    expect(await askRouter({ address: '127.0.0.1', port: there.port }, real)).toBe('198.44.0.1');
    expect(there.requests.map((one) => [...one])).toEqual([
      [0, 0],
      [0, 0],
      [0, 0],
    ]);
  });

  test('believes a router that says it has none', async () => {
    using there = await router([answer(3)]);
    expect(await askRouter({ address: '127.0.0.1', port: there.port }, real)).toBeNull();
    expect(there.requests).toHaveLength(1);
  });

  test('gives up on one that is silent, and on one that is not there', async () => {
    const { port } = await (async () => {
      using there = await router([]);
      expect(await askRouter({ address: '127.0.0.1', port: there.port }, real)).toBeNull();
      expect(there.requests).toHaveLength(3);
      return there;
    })();
    expect(await askRouter({ address: '127.0.0.1', port }, real)).toBeNull();
  });

  test('stops when it is told to', async () => {
    using there = await router([]);
    const stop = new AbortController();
    const asked = askRouter({ address: '127.0.0.1', port: there.port }, stop.signal);
    stop.abort(new Error('stop here'));
    await expect(asked).rejects.toThrow('stop here');
  });
});

describe('defaultRouter', () => {
  const header = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
  const route = (destination: string, gateway: string, flags: string, metric: number, mask = '00000000') =>
    `eth0\t${destination}\t${gateway}\t${flags}\t0\t0\t${metric}\t${mask}\t0\t0\t0\n`;

  test('is that of the default route with the least metric', () => {
    const routes =
      header +
      route('0001A8C0', '00000000', '0001', 0, '00FFFFFF') +
      route('00000000', 'FE01A8C0', '0003', 200) +
      route('00000000', '0101A8C0', '0003', 100) +
      route('00000000', '0201A8C0', '0001', 0);
    expect(defaultRouter(routes)).toBe('192.168.1.1');
  });

  test('is none without such a route, and in any other text', () => {
    expect(defaultRouter(header)).toBeNull();
    fc.assert(fc.property(fc.string(), (text) => defaultRouter(text) === null));
  });
});
