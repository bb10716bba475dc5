import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readCertificate, refusalOf } from '../../../appliance/acme/credentials.ts';
import {
  install,
  type InstallContext,
  previousPath,
  presentedFingerprint,
  saveWaiting,
  waitingPath,
} from '../../../appliance/acme/install.ts';
import { type Clock, systemClock } from '../../../appliance/base/clock.ts';
import { makeTestAuthority } from '../../fixtures/acme/authority.ts';

const name = 'chat.example.org';
const now = Date.now();
const authority = makeTestAuthority();
const issue = () => authority.issue({ names: [name], notBeforeMs: now - 1000, notAfterMs: now + 1e9 });
const [before, after] = [issue(), issue()];
const fingerprint = (pem: string) => readCertificate(pem)?.fingerprint;

/** Time that passes only when somebody sleeps. */
function fastClock(): Clock {
  let ms = 0;
  return {
    monotonicMs: () => ms,
    wallMs: () => now,
    sleep: async (duration, signal) => {
      signal?.throwIfAborted();
      ms += duration;
    },
  };
}

describe('install', () => {
  let directory = '';
  let servers: Server[] = [];
  let paths: InstallContext['paths'];
  let stop: AbortController;

  beforeEach(async () => {
    stop = new AbortController();
    directory = await mkdtemp(join(tmpdir(), 'install-'));
    paths = { tlsCredentials: join(directory, 'relay.pem'), acme: directory };
    await writeFile(paths.tlsCredentials, before);
    await saveWaiting(after, paths);
  });
  afterEach(async () => {
    stop.abort();
    for (const server of servers) server.close();
    servers = [];
    await rm(directory, { recursive: true, force: true });
  });

  const inUse = () => readFileSync(paths.tlsCredentials, 'utf8');

  /** A service that reads the file when told to, but for a deaf one. */
  async function service(isDeaf = false): Promise<{ port: number; reload: () => void }> {
    const context = () => ({ key: inUse(), cert: inUse() });
    const server = createServer(context(), (socket) => socket.on('error', () => {}).end());
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
    return {
      port: (server.address() as AddressInfo).port,
      reload: () => {
        if (!isDeaf) server.setSecureContext(context());
      },
    };
  }

  function context(services: readonly { port: number; reload: () => void }[]): InstallContext {
    return {
      paths,
      reload: async () => services.forEach(({ reload }) => reload()),
      ports: services.map(({ port }) => port),
      name,
      clock: fastClock(),
      signal: stop.signal,
    };
  }

  test('puts it in place, keeps the one before, and is content when every port presents it', async () => {
    const services = [await service(), await service()];
    expect(await install(after, context(services))).toEqual({ kind: 'installed' });
    expect(inUse()).toBe(after);
    expect(await readFile(previousPath(paths), 'utf8')).toBe(before);
    expect(existsSync(waitingPath(paths))).toBe(false);
    for (const { port } of services) {
      expect(await presentedFingerprint(port, name, stop.signal)).toBe(fingerprint(after));
    }
  });

  test('goes back when one port does not present it, tells everybody, and keeps what was issued', async () => {
    const [good, deaf] = [await service(), await service(true)];
    expect(await install(after, context([good, deaf]))).toEqual({
      kind: 'rolled-back',
      reason: `port ${deaf.port} presents another certificate`,
    });
    expect(inUse()).toBe(before);
    expect(await presentedFingerprint(good.port, name, stop.signal)).toBe(fingerprint(before));
    expect(await readFile(waitingPath(paths), 'utf8')).toBe(after);
  });

  test('waits for a service that takes its time', async () => {
    const slow = await service();
    let told = 0;
    const clock = fastClock();
    const outcome = await install(after, {
      ...context([slow]),
      reload: async () => void told++,
      clock: {
        ...clock,
        sleep: async (ms, signal) => {
          await clock.sleep(ms, signal);
          if (clock.monotonicMs() > 5000) slow.reload();
        },
      },
    });
    expect(outcome).toEqual({ kind: 'installed' });
    expect(told).toBe(1);
  });

  test('does not take the silence of a service that was down before for a refusal', async () => {
    const down = await service();
    await new Promise((resolve) => servers[0]?.close(resolve));
    const up = await service();
    expect(await install(after, context([down, up]))).toEqual({ kind: 'installed' });
  });

  test('goes back when the services cannot be told', async () => {
    const one = await service();
    let asked = 0;
    const outcome = await install(after, {
      ...context([one]),
      reload: async () => {
        asked++;
        throw new Error('no supervisor');
      },
    });
    expect(outcome).toEqual({ kind: 'rolled-back', reason: 'the services cannot be told: no supervisor' });
    expect([asked, inUse()]).toEqual([2, before]);
  });

  /** What lies on the disk at each point where the power may fail. */
  const states = [
    ['after it was issued', { current: before, waiting: after }],
    ['after the one before was kept', { current: before, waiting: after, previous: before }],
    ['after it was put in place', { current: after, waiting: after, previous: before }],
    ['after going back', { current: before, waiting: after, previous: before }],
    ['after all was done', { current: after, previous: before }],
  ] as const;

  test.each(states)('finds a usable pair %s, and goes on from there', async (_, state) => {
    await writeFile(paths.tlsCredentials, state.current);
    await rm(waitingPath(paths), { force: true });
    if ('waiting' in state) await writeFile(waitingPath(paths), state.waiting);
    if ('previous' in state) await writeFile(previousPath(paths), state.previous);
    expect(refusalOf(inUse(), name, now)).toBeUndefined();
    const good = await service();
    expect(await install(after, context([good]))).toEqual({ kind: 'installed' });
    expect(inUse()).toBe(after);
    expect(existsSync(waitingPath(paths))).toBe(false);
    if (state.current === before || 'previous' in state) {
      expect(await readFile(previousPath(paths), 'utf8')).toBe(before);
    }
  });

  test('goes back to the one before, even when the power failed right after it was put in place', async () => {
    await writeFile(previousPath(paths), before);
    await writeFile(paths.tlsCredentials, before);
    const deaf = await service(true);
    await writeFile(paths.tlsCredentials, after);
    expect(await install(after, context([deaf]))).toMatchObject({ kind: 'rolled-back' });
    expect(inUse()).toBe(before);
  });

  test('leaves a usable pair wherever it is stopped', async () => {
    const one = await service();
    for (const at of ['reload', 'sleep'] as const) {
      const cut = new AbortController();
      const cutNow = async () => {
        expect(refusalOf(inUse(), name, now)).toBeUndefined();
        cut.abort(new Error('stopped'));
      };
      const interrupted = install(after, {
        ...context([one]),
        signal: cut.signal,
        ...(at === 'reload'
          ? { reload: cutNow }
          : { reload: async () => {}, clock: { ...systemClock, sleep: cutNow } }),
      });
      await expect(interrupted).rejects.toThrow('stopped');
      expect(refusalOf(inUse(), name, now)).toBeUndefined();
      expect(await readFile(waitingPath(paths), 'utf8')).toBe(after);
    }
    expect(await install(after, context([one]))).toEqual({ kind: 'installed' });
    expect(await readFile(previousPath(paths), 'utf8')).toBe(before);
  });
});
