/**
 * Puts a key and chain to use: in one rename, with the ones before kept, and only for good when every port
 * has been seen to present it. At any moment the file holds a pair that belongs together.
 */
import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { rm } from 'node:fs/promises';
import { connect } from 'node:tls';
import { readTextIfPresent, writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { certificateBlocks } from '../base/pem.ts';

export interface InstallPaths {
  /** What everybody uses. */
  readonly tlsCredentials: string;
  /** Directory of the keeper. */
  readonly acme: string;
}

export interface InstallContext {
  readonly paths: InstallPaths;
  /** Lets everybody who uses the file read it again. */
  readonly reload: (signal: AbortSignal) => Promise<void>;
  /** TLS ports on this machine that must present it, if they present anything before. */
  readonly ports: readonly number[];
  /** Name to ask for. */
  readonly name: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How long the ports have. Default 20 s: Postfix starts new processes, and boards are slow. */
  readonly timeoutMs?: number;
}

export type Installed =
  | { readonly kind: 'installed' }
  /** The one before is in use again. */
  | { readonly kind: 'rolled-back'; readonly reason: string };

const defaultTimeoutMs = 20_000;
const pauseMs = 250;
const handshakeTimeoutMs = 5000;

/** Issued, and not yet seen on every port. It outlives a power cut, so that nothing is ordered twice. */
export const waitingPath = ({ acme }: InstallPaths): string => join(acme, 'relay.next.pem');
/** What was in use before. */
export const previousPath = ({ acme }: InstallPaths): string => join(acme, 'relay.previous.pem');

export async function saveWaiting(pem: string, paths: InstallPaths): Promise<void> {
  await writeFileAtomic(waitingPath(paths), pem, { mode: 0o600 });
}

export async function dropWaiting(paths: InstallPaths): Promise<void> {
  await rm(waitingPath(paths), { force: true });
}

/**
 * Takes what is waiting into use.
 * @param pem its content, found good by refusalOf
 * @throws when a file cannot be written, or `signal` fires
 */
export async function install(pem: string, context: InstallContext): Promise<Installed> {
  const { paths, reload, signal, name } = context;
  // One that is down for its own reasons proves nothing, and reads the file when it starts.
  const answering = await Promise.all(
    context.ports.map((port) =>
      presentedFingerprint(port, name, signal).then(
        () => [port],
        () => [],
      ),
    ),
  );
  const ports = answering.flat();
  const before = await readTextIfPresent(paths.tlsCredentials);
  // After a power cut it may be in place already: then what came before is in the other file.
  if (before !== pem) {
    if (before !== undefined) await writeFileAtomic(previousPath(paths), before, { mode: 0o600 });
    await writeFileAtomic(paths.tlsCredentials, pem, { mode: 0o600 });
  }
  const reason = await reload(signal).then(
    () => prove(pem, { ...context, ports }),
    (error: unknown) => {
      signal.throwIfAborted();
      return `the services cannot be told: ${messageOf(error)}`;
    },
  );
  if (reason === undefined) {
    await dropWaiting(paths);
    return { kind: 'installed' };
  }
  const previous = await readTextIfPresent(previousPath(paths));
  // Without anything before it there is nothing to go back to.
  if (previous !== undefined) {
    await writeFileAtomic(paths.tlsCredentials, previous, { mode: 0o600 });
    // What cannot be told now reads the file at its next start.
    await reload(signal).catch(() => {});
  }
  return { kind: 'rolled-back', reason };
}

/** Undefined once every port presents the leaf, else what is wrong with the first that does not. */
async function prove(pem: string, context: InstallContext): Promise<string | undefined> {
  const { ports, name, clock, signal, timeoutMs = defaultTimeoutMs } = context;
  const [leaf = ''] = certificateBlocks(pem);
  const expected = new X509Certificate(leaf).fingerprint256;
  const deadline = clock.monotonicMs() + timeoutMs;
  const stillWrong = new Map(ports.map((port) => [port, 'was not asked']));
  for (;;) {
    await Promise.all(
      [...stillWrong.keys()].map(async (port) => {
        const found = await presentedFingerprint(port, name, signal).catch(
          (error: unknown) => `does not answer: ${messageOf(error)}`,
        );
        if (found === expected) stillWrong.delete(port);
        else stillWrong.set(port, found.includes(' ') ? found : 'presents another certificate');
      }),
    );
    signal.throwIfAborted();
    if (stillWrong.size === 0) return undefined;
    if (clock.monotonicMs() >= deadline) {
      return [...stillWrong].map(([port, what]) => `port ${port} ${what}`).join(', ');
    }
    await clock.sleep(pauseMs, signal);
  }
}

/** SHA-256 of the certificate that a port on this machine presents. */
export async function presentedFingerprint(port: number, name: string, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port,
      // RFC 6066 §3: no addresses in the server name.
      ...(isIP(name) === 0 ? { servername: name } : {}),
      // Who signed it was checked before; here it only matters which one it is.
      rejectUnauthorized: false,
    });
    const stop = () => socket.destroy(new Error('aborted'));
    signal.addEventListener('abort', stop, { once: true });
    socket.setTimeout(handshakeTimeoutMs, () => socket.destroy(new Error('no handshake in time')));
    socket.once('error', reject);
    socket.once('close', () => {
      signal.removeEventListener('abort', stop);
      reject(new Error('connection closed'));
    });
    socket.once('secureConnect', () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate === undefined) reject(new Error('no certificate'));
      else resolve(certificate.fingerprint256);
    });
  });
}
