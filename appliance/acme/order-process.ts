/** Runs one order in a process of its own, and meets its challenges. */
import { fork } from 'node:child_process';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Challenges, presentChallenge, removeChallenge } from './challenges.ts';
import {
  type FromProgram,
  type OrderOutcome,
  type OrderRequest,
  readFromProgram,
  type ToProgram,
} from './order-protocol.ts';

export interface OrderProcessOptions {
  /** Path of appliance/certificate-order.ts, or of the bundle made of it. */
  readonly program: string;
  readonly challenges: Challenges;
  /** Told as soon as the authority has given the account a URL. */
  readonly onAccount: (url: string) => Promise<void>;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Killed after so long. Default 20 minutes: a zone takes its time to show a record. */
  readonly timeoutMs?: number;
}

const defaultTimeoutMs = 20 * 60_000;
/** It holds an order and a library, no more: a leak is better ended early on a small board. */
const nodeArguments = ['--max-semi-space-size=1', '--max-old-space-size=96'];

/**
 * @throws Error when the program does not come to an end of its own; AbortError when `signal` fires. The
 *   authority's refusals are no errors but outcomes
 */
export async function runOrder(request: OrderRequest, options: OrderProcessOptions): Promise<OrderOutcome> {
  const { program, challenges, log, timeoutMs = defaultTimeoutMs } = options;
  const deadline = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([options.signal, deadline]);
  signal.throwIfAborted();
  // What the process itself was given about trust (--use-openssl-ca) holds for its child too.
  const inherited = process.execArgv.filter((argument) => argument === '--use-openssl-ca');
  const child = fork(program, [], {
    execArgv: [...nodeArguments, ...inherited],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    signal,
    killSignal: 'SIGKILL',
  });
  const send = (message: ToProgram) => {
    // One that has ended says so by its exit.
    if (child.connected) child.send(message, () => {});
  };
  const open = new Map<string, Parameters<typeof presentChallenge>[1]>();
  const answer = async (message: FromProgram & { kind: 'present' | 'remove' }): Promise<void> => {
    const { id, challenge } = message;
    try {
      if (message.kind === 'present') {
        open.set(`${challenge.type} ${challenge.identifier} ${challenge.token}`, challenge);
        await presentChallenge(challenges, challenge, signal);
      } else {
        open.delete(`${challenge.type} ${challenge.identifier} ${challenge.token}`);
        await removeChallenge(challenges, challenge, signal);
      }
      send({ kind: 'done', id });
    } catch (error) {
      log.warn('challenge', { step: message.kind, type: challenge.type, error: messageOf(error) });
      send({ kind: 'done', id, error: messageOf(error).slice(0, 1000) });
    }
  };
  let account: Promise<void> = Promise.resolve();
  try {
    const outcome = await new Promise<OrderOutcome>((resolve, reject) => {
      let result: OrderOutcome | undefined;
      child.on('message', (raw) => {
        try {
          const message = readFromProgram(raw);
          if (message.kind === 'account') {
            account = options.onAccount(message.url);
            account.catch(() => {}); // Thrown below, when it is waited for.
          } else if (message.kind === 'present' || message.kind === 'remove') void answer(message);
          else result = message;
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
      child.once('error', reject);
      child.once('exit', (code, killedBy) => {
        if (result !== undefined) resolve(result);
        else reject(new Error(`The ordering program ended without a result (${killedBy ?? `code ${code}`})`));
      });
      send(request);
    });
    await account;
    return outcome;
  } catch (error) {
    if (deadline.aborted && !options.signal.aborted) {
      throw new Error(`The order took longer than ${timeoutMs / 60_000} minutes`, { cause: error });
    }
    throw error;
  } finally {
    child.kill('SIGKILL');
    // A program that was killed could not take its challenges back.
    await account.catch(() => {});
    for (const challenge of open.values()) {
      await removeChallenge(challenges, challenge, AbortSignal.timeout(30_000)).catch(() => {});
    }
  }
}
