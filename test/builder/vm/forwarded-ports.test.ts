import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { chooseForwardedPorts } from '../../../builder/vm/forwarded-ports.ts';

const hostAddress = '127.0.0.1';

async function taken(): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer().listen(0, hostAddress);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => void (await new Promise((done) => server.close(done))),
  };
}

describe('chooseForwardedPorts', () => {
  test('every service gets a port of its own', async () => {
    const ports = await chooseForwardedPorts({ hostAddress, offset: 31_000 });
    expect(new Set(Object.values(ports)).size).toBe(8);
    expect(ports.smtp).toBeGreaterThan(1023);
  });

  test('the next machine gets ports a thousand higher, below those of outgoing connections', async () => {
    await using first = createServer();
    first.listen({ host: '127.0.0.1', port: 21_025 });
    await once(first, 'listening');
    const ports = await chooseForwardedPorts({ hostAddress: '127.0.0.1', offset: 21_000 });
    expect(ports).toMatchObject({ smtp: 22_025, imaps: 21_993 });
  });

  test('a port that is taken is replaced by a free one', async () => {
    await using other = await taken();
    const ports = await chooseForwardedPorts({
      hostAddress,
      offset: other.port - 25 > 0 ? other.port - 25 : 0,
    }).catch((error: unknown) => {
      // The services above 25 may not fit below 65,536 any more; then the offset is refused, as it must be.
      expect(error).toBeInstanceOf(RangeError);
      return undefined;
    });
    if (ports !== undefined) expect(ports.smtp).not.toBe(other.port);
  });

  test('a port that was asked for is never replaced', async () => {
    await using other = await taken();
    await expect(chooseForwardedPorts({ hostAddress, chosen: { smtp: other.port } })).rejects.toThrow(
      `Port ${other.port} for smtp`,
    );
  });

  test('an offset beyond all ports is refused', async () => {
    await expect(chooseForwardedPorts({ hostAddress, offset: 65_500 })).rejects.toThrow(RangeError);
  });
});
