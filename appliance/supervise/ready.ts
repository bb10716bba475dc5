/** Asks a service whether it is ready. */
import { connect, type NetConnectOpts } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { ReadyCheck } from './service.ts';

/** What the checks need to know of the running process. */
export interface ReadyContext {
  readonly startedMs: number;
  /** True once a line printed since the start has matched. */
  hasPrinted(pattern: RegExp): boolean;
}

const attemptTimeoutMs = 2000;

function accepts(options: NetConnectOpts, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({
      ...options,
      signal: AbortSignal.any([signal, AbortSignal.timeout(attemptTimeoutMs)]),
    });
    const answer = (isOpen: boolean) => () => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', answer(true));
    socket.once('error', answer(false));
    socket.once('close', answer(false));
  });
}

/** One attempt. Never throws: what cannot be asked is not ready. */
export async function isReady(
  check: ReadyCheck,
  context: ReadyContext,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  switch (check.kind) {
    case 'unix':
      return accepts({ path: check.path }, signal);
    case 'tcp':
      return accepts({ port: check.port, host: check.host ?? '127.0.0.1' }, signal);
    case 'log':
      return context.hasPrinted(check.pattern);
    case 'alive':
      return clock.monotonicMs() - context.startedMs >= check.forMs;
    case 'custom':
      return check.check(signal).catch(() => false);
  }
}

/** Asks again and again, first quickly, until it is ready (true) or `signal` fires (false). */
export async function waitUntilReady(
  check: ReadyCheck,
  context: ReadyContext,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  for (let pauseMs = 10; !signal.aborted; pauseMs = Math.min(pauseMs * 1.5, 500)) {
    if (await isReady(check, context, clock, signal)) return true;
    try {
      await clock.sleep(pauseMs, signal);
    } catch {
      return false;
    }
  }
  return false;
}
