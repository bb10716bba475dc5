/** Runs a program to its end at intervals: the daily expiry of old mail. */
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Containment } from './containment.ts';
import { closeFifo, openFifoForService } from './log-pipe.ts';
import { spawnProcess } from './running-process.ts';
import type { Job } from './service.ts';

export interface JobOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly containment: Containment;
  readonly fifo: string;
  readonly signal: AbortSignal;
}

/**
 * Runs the job until `signal` fires, one run at a time. A run that fails or takes too long is logged and
 * comes again at its next time. What a supervisor before us had left running is killed first.
 */
export async function runJob(job: Job, options: JobOptions): Promise<void> {
  const { clock, log, containment, signal } = options;
  await containment.killAll(job.name, undefined);
  let waitMs = job.firstAfterMs;
  for (;;) {
    await clock.sleep(waitMs, signal).catch(() => {});
    if (signal.aborted) return;
    const startedMs = clock.monotonicMs();
    const outcome = await runOnce(job, options).catch((error: unknown) => messageOf(error));
    const fields = { name: job.name, outcome, tookMs: Math.round(clock.monotonicMs() - startedMs) };
    if (outcome === 'exit code 0') log.info('job done', fields);
    else log.error('job failed', fields);
    waitMs = Math.max(job.everyMs - (clock.monotonicMs() - startedMs), 1000);
  }
}

async function runOnce(job: Job, { clock, containment, fifo, signal }: JobOptions): Promise<string> {
  const outputFd = openFifoForService(fifo);
  let leaderPid: number | undefined;
  try {
    const { name, command, args, identity, env } = job;
    const running = await containment.enter(name, () =>
      spawnProcess({ command, args, identity, env, oomScoreAdjust: 500, outputFd }),
    );
    leaderPid = running.pid;
    const over = new AbortController();
    const cancelled = clock
      .sleep(job.timeoutMs, AbortSignal.any([signal, over.signal]))
      .then(() => `took longer than ${job.timeoutMs / 1000} s`)
      .catch(() => 'stopped');
    const outcome = await Promise.race([running.ended, cancelled]);
    over.abort();
    return outcome;
  } finally {
    closeFifo(outputFd);
    await containment.killAll(job.name, leaderPid);
  }
}
