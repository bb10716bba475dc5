/**
 * Keeps one service running: waits for what it needs, adopts or spawns, waits until it is ready, clears up
 * after a death, backs off, and starts over, until it is told to stop.
 */
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { ServiceState, ServiceStatus } from '../contract/status.ts';
import { Complaint } from './complaint.ts';
import type { Containment } from './containment.ts';
import { closeFifo, openFifoForService } from './log-pipe.ts';
import { backOffAfter, backOffMs, healthyAfterMs } from './plan.ts';
import { isAlive, sendSignal } from './process-table.ts';
import { isReady, type ReadyContext, waitUntilReady } from './ready.ts';
import { fingerprint, readRecord, removeRecord, writeRecord } from './record.ts';
import { adoptProcess, type RunningProcess, spawnProcess } from './running-process.ts';
import type { Service } from './service.ts';

export interface RunnerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly containment: Containment;
  /** The service's FIFO, which must be there. */
  readonly fifo: string;
  /** Directory for the record, on tmpfs. */
  readonly recordsDirectory: string;
  readonly onChange: () => void;
  /** Default: plan.ts. */
  readonly backOffScheduleMs?: readonly number[];
  readonly healthyAfterMs?: number;
  readonly healthEveryMs?: number;
}

/** What it needs is waited for so long, then it starts without: a service that cannot start is shown anyway. */
const needsTimeoutMs = 30_000;
/** After the leader has ended in good order its children get so long to follow. */
const followMs = 1000;

export class ServiceRunner {
  readonly service: Service;
  readonly #options: RunnerOptions;
  readonly #stop = new AbortController();
  readonly #complaint = new Complaint();
  readonly #ready = Promise.withResolvers<void>();
  #state: ServiceState = 'waiting';
  #reason: string | undefined;
  #failures = 0;
  #process: RunningProcess | undefined;
  #restart = new AbortController();
  #printed: string[] = [];
  #isPrinting = false;
  #isHealthy = true;
  #finished: Promise<void> | undefined;

  constructor(service: Service, options: RunnerOptions) {
    this.service = service;
    this.#options = options;
  }

  /** Settles when the service has been ready for the first time, or never will be. */
  get firstReady(): Promise<void> {
    return this.#ready.promise;
  }

  status(): ServiceStatus {
    const reason = [this.#reason, this.#complaint.text].filter((text) => text !== undefined).join(': ');
    return {
      name: this.service.name,
      state: this.#state,
      failures: this.#failures,
      ...(this.#process === undefined ? {} : { pid: this.#process.pid }),
      ...(this.#reason === undefined ? {} : { reason }),
    };
  }

  /** Running, and its health check (if any) held when last asked. */
  get isHealthy(): boolean {
    return this.#state === 'running' && this.#isHealthy;
  }

  /** Lines of the service's output, for ready checks that look at them. */
  onLine(line: string): void {
    if (this.#isPrinting && this.#printed.length < 1000) this.#printed.push(line);
    if (this.#complaint.hear(line)) this.#options.onChange();
  }

  /** Starts the loop; `needs` are the promises of what must be ready before. */
  start(needs: readonly Promise<void>[]): void {
    this.#finished ??= this.#run(needs).catch((error: unknown) => {
      // A bug of ours; the service is shown as stopped, the others run on.
      this.#options.log.error('runner failed', { name: this.service.name, error: messageOf(error) });
      this.#change('stopped', messageOf(error));
      this.#ready.resolve();
    });
  }

  /** Stops the service for good: signal, deadline, kill. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#finished;
  }

  /** Stops the process; the loop starts it again at once. */
  restart(): void {
    this.#restart.abort();
  }

  /** Sends the reload signal, or restarts a service that has none. */
  reload(): void {
    const { reloadSignal } = this.service;
    if (reloadSignal === undefined) this.restart();
    else if (this.#process !== undefined) sendSignal(this.#process.pid, reloadSignal);
  }

  async #run(needs: readonly Promise<void>[]): Promise<void> {
    const { clock } = this.#options;
    const waiting = new AbortController();
    // An adopted service runs already: it waits for nobody.
    let running = await this.#adopt();
    if (running === undefined) {
      const timeout = clock.sleep(needsTimeoutMs, AbortSignal.any([waiting.signal, this.#stop.signal]));
      await Promise.race([Promise.all(needs), timeout.catch(() => {})]);
      waiting.abort();
    }
    while (!this.#stop.signal.aborted) {
      this.#restart = new AbortController();
      const startedMs = clock.monotonicMs();
      let reason: string;
      try {
        running ??= await this.#spawn();
        reason = await this.#superviseProcess(running, startedMs);
      } catch (error) {
        reason = messageOf(error);
      }
      await this.#clearUp();
      running = undefined;
      if (this.#stop.signal.aborted) break;
      if (this.#restart.signal.aborted) {
        this.#failures = 0;
        continue;
      }
      const isFirst = clock.monotonicMs() - startedMs >= (this.#options.healthyAfterMs ?? healthyAfterMs);
      this.#failures = isFirst ? 1 : this.#failures + 1;
      const waitMs = backOffAfter(this.#failures, this.#options.backOffScheduleMs ?? backOffMs);
      this.#options.log.error('service ended', {
        name: this.service.name,
        reason,
        failures: this.#failures,
        waitMs,
      });
      this.#change('back-off', reason);
      await clock.sleep(waitMs, AbortSignal.any([this.#stop.signal, this.#restart.signal])).catch(() => {});
    }
    await this.#clearUp();
    this.#options.log.info('service stopped', { name: this.service.name });
    this.#change('stopped', undefined);
    this.#ready.resolve();
  }

  get #recordPath(): string {
    return join(this.#options.recordsDirectory, `${this.service.name}.json`);
  }

  async #adopt(): Promise<RunningProcess | undefined> {
    const record = readRecord(this.#recordPath);
    const running = record && adoptProcess(record.pid, record.startTicks, this.#options.clock);
    if (record !== undefined && running !== undefined) {
      this.#process = running;
      // A ready line that the supervisor before us has read does not come again.
      const canTell = record.ready || this.service.ready.kind !== 'log';
      if (canTell && record.fingerprint === fingerprint(this.service)) {
        this.#options.log.info('adopted', { name: this.service.name, pid: running.pid });
        if (record.ready) {
          this.#change('running', undefined);
          this.#ready.resolve();
        }
        return running;
      }
      // Or its command has changed since: stop the old one in good order and start anew.
      await this.#terminate(running);
    }
    // A supervisor killed between a spawn and its record leaves processes that nobody has written down.
    await this.#options.containment.killAll(this.service.name, record?.pid);
    removeRecord(this.#recordPath);
    this.#process = undefined;
    return undefined;
  }

  async #spawn(): Promise<RunningProcess> {
    const { containment, fifo } = this.#options;
    const { name, command, args, identity, env, oomScoreAdjust } = this.service;
    this.#printed = [];
    this.#isPrinting = this.service.ready.kind === 'log';
    this.#complaint.listen();
    this.#change('starting', this.#reason);
    const outputFd = openFifoForService(fifo);
    try {
      const running = await containment.enter(name, () =>
        spawnProcess({ command, args, identity, env, oomScoreAdjust, outputFd }),
      );
      this.#process = running;
      this.#record(running, false);
      return running;
    } finally {
      closeFifo(outputFd);
    }
  }

  #record({ pid, startTicks }: RunningProcess, ready: boolean): void {
    writeRecord(this.#recordPath, { pid, startTicks, ready, fingerprint: fingerprint(this.service) });
  }

  /** Watches the process until it has ended or has been stopped; says why. */
  async #superviseProcess(running: RunningProcess, startedMs: number): Promise<string> {
    const over = new AbortController();
    const leave = AbortSignal.any([this.#stop.signal, this.#restart.signal]);
    const ended = running.ended.finally(() => over.abort());
    const context: ReadyContext = {
      startedMs,
      hasPrinted: (pattern) => this.#printed.some((line) => pattern.test(line)),
    };
    const outcome = await Promise.race([
      ended.then((reason) => ({ kind: 'ended', reason }) as const),
      aborted(leave, over.signal).then(() => ({ kind: 'leave' }) as const),
      this.#untilNotReady(running, context, AbortSignal.any([leave, over.signal])),
    ]);
    if (outcome.kind !== 'ended') {
      this.#change('stopping', outcome.kind === 'leave' ? undefined : outcome.reason);
      await this.#terminate(running);
    }
    over.abort();
    return outcome.kind === 'leave' ? 'stopped' : outcome.reason;
  }

  /** Settles only when the service misses its deadline to be ready. */
  async #untilNotReady(
    running: RunningProcess,
    context: ReadyContext,
    signal: AbortSignal,
  ): Promise<{ kind: 'not-ready'; reason: string }> {
    const { clock, log } = this.#options;
    const { ready, readyTimeoutMs = 60_000, name } = this.service;
    if (this.#state !== 'running') {
      const deadline = AbortSignal.timeout(readyTimeoutMs);
      if (await waitUntilReady(ready, context, clock, AbortSignal.any([signal, deadline]))) {
        this.#isPrinting = false;
        this.#complaint.forget();
        this.#record(running, true);
        log.info('ready', { name, afterMs: Math.round(clock.monotonicMs() - context.startedMs) });
        this.#change('running', undefined);
        this.#ready.resolve();
      } else if (!signal.aborted) {
        return { kind: 'not-ready', reason: `not ready after ${readyTimeoutMs / 1000} s` };
      }
    }
    await this.#watchHealth(context, signal);
    return new Promise(() => {});
  }

  async #watchHealth(context: ReadyContext, signal: AbortSignal): Promise<void> {
    const { clock, healthEveryMs = 60_000 } = this.#options;
    const { health } = this.service;
    this.#isHealthy = true;
    while (health !== undefined && !signal.aborted) {
      await clock.sleep(healthEveryMs, signal).catch(() => {});
      if (!signal.aborted) this.#isHealthy = await isReady(health, context, clock, signal);
    }
  }

  /** Signal, deadline; what is left is killed by #clearUp. */
  async #terminate(running: RunningProcess): Promise<void> {
    const { clock, containment } = this.#options;
    const { name, stopSignal = 'SIGTERM', stopTimeoutMs = 10_000 } = this.service;
    const done = new AbortController();
    const timeout = (ms: number): Promise<void> => clock.sleep(ms, done.signal).catch(() => {});
    if (isAlive(running.pid, running.startTicks)) sendSignal(running.pid, stopSignal);
    await Promise.race([running.ended, timeout(stopTimeoutMs)]);
    if (!isAlive(running.pid, running.startTicks)) {
      const followUntilMs = clock.monotonicMs() + followMs;
      while (containment.members(name, running.pid).length > 0 && clock.monotonicMs() < followUntilMs) {
        await timeout(20);
      }
    }
    done.abort();
  }

  async #clearUp(): Promise<void> {
    const { containment } = this.#options;
    await containment.killAll(this.service.name, this.#process?.pid);
    removeRecord(this.#recordPath);
    this.#process = undefined;
  }

  #change(state: ServiceState, reason: string | undefined): void {
    this.#state = state;
    this.#reason = reason;
    this.#options.onChange();
  }
}

/** Resolves when `signal` fires; forgets about it when `until` does. */
function aborted(signal: AbortSignal, until: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true, signal: until });
  });
}
