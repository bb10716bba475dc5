/** All services together: started and stopped in order, their output kept, their state told. */
import { mkdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { ServiceStatus } from '../contract/status.ts';
import type { Containment } from './containment.ts';
import { runJob } from './job-runner.ts';
import { anonymousLine } from './anonymous-log.ts';
import { makeFifos, readFifo, shareFifo } from './log-pipe.ts';
import { startOrder, stopOrder } from './plan.ts';
import type { Job, Service } from './service.ts';
import { defaultLogLimits, type LogLimits, ServiceLog } from './service-log.ts';
import { ServiceRunner } from './service-runner.ts';

/** A relay whose web pages cannot start serves all the same: nobody waits longer for them to be told. */
const defaultSecondaryPatienceMs = 5000;

export interface SupervisionOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly containment: Containment;
  /** On tmpfs: FIFOs and records, which outlive the supervisor and not the boot. */
  readonly runDirectory: string;
  /** On DATA; undefined keeps logs in memory only. */
  readonly logDirectory: string | undefined;
  readonly logLimits?: LogLimits;
  readonly backOffScheduleMs?: readonly number[];
  readonly healthyAfterMs?: number;
  readonly healthEveryMs?: number;
  /** How long `firstReady` waits for services that are not vital, after those that are. */
  readonly secondaryPatienceMs?: number;
  /** Called whenever a status has changed. */
  readonly onChange?: () => void;
}

export class Supervision {
  readonly #options: SupervisionOptions;
  readonly #services: Service[];
  readonly #jobs: readonly Job[];
  readonly #runners = new Map<string, ServiceRunner>();
  readonly #logs = new Map<string, ServiceLog>();
  readonly #pipes: Disposable[] = [];
  readonly #stop = new AbortController();
  #runningJobs: Promise<unknown> = Promise.resolve();

  /** @throws RangeError when the table makes no sense (plan.ts) */
  constructor(services: readonly Service[], jobs: readonly Job[], options: SupervisionOptions) {
    startOrder(services);
    this.#services = [...services];
    this.#jobs = jobs;
    this.#options = options;
  }

  /** Starts everything and returns at once; `firstReady` tells when it runs. */
  async start(): Promise<void> {
    const { runDirectory, logDirectory, clock, log, containment } = this.#options;
    // 0711: a service may reopen the FIFO it was given, and list nothing.
    mkdirSync(join(runDirectory, 'log'), { recursive: true, mode: 0o711 });
    mkdirSync(join(runDirectory, 'services'), { recursive: true, mode: 0o700 });
    if (logDirectory !== undefined) await mkdir(logDirectory, { recursive: true, mode: 0o750 });
    const services = startOrder(this.#services).flat();
    makeFifos([...services, ...this.#jobs].map(({ name }) => this.#fifo(name)));
    for (const program of [...services, ...this.#jobs]) await this.#openLog(program);
    for (const service of services) this.#launch(service);
    this.#runningJobs = Promise.all(
      this.#jobs.map((job) =>
        runJob(job, { clock, log, containment, fifo: this.#fifo(job.name), signal: this.#stop.signal }),
      ),
    );
  }

  /**
   * Starts one more service, after `start`.
   * @throws RangeError as the constructor does
   */
  async add(service: Service): Promise<void> {
    startOrder([...this.#services, service]);
    if (this.#stop.signal.aborted) return;
    this.#services.push(service);
    makeFifos([this.#fifo(service.name)]);
    await this.#openLog(service);
    this.#launch(service);
  }

  #fifo(name: string): string {
    return join(this.#options.runDirectory, 'log', `${name}.fifo`);
  }

  async #openLog({
    name,
    logGid,
    logNamesPeople,
  }: Pick<Service, 'name' | 'logGid' | 'logNamesPeople'>): Promise<void> {
    const { clock, logDirectory, logLimits = defaultLogLimits } = this.#options;
    if (logGid !== undefined) shareFifo(this.#fifo(name), logGid);
    const forDisk = logNamesPeople === true ? anonymousLine : undefined;
    const serviceLog = new ServiceLog(clock, logLimits, forDisk);
    this.#logs.set(name, serviceLog);
    if (logDirectory !== undefined) await serviceLog.open(join(logDirectory, `${name}.log`));
    this.#pipes.push(
      readFifo(this.#fifo(name), (line) => {
        serviceLog.push(line);
        this.#runners.get(name)?.onLine(line);
      }),
    );
  }

  #launch(service: Service): void {
    const { clock, log, containment, runDirectory, onChange = () => {} } = this.#options;
    const { backOffScheduleMs, healthyAfterMs, healthEveryMs } = this.#options;
    const runner = new ServiceRunner(service, {
      clock,
      log,
      containment,
      fifo: this.#fifo(service.name),
      recordsDirectory: join(runDirectory, 'services'),
      onChange,
      ...(backOffScheduleMs === undefined ? {} : { backOffScheduleMs }),
      ...(healthyAfterMs === undefined ? {} : { healthyAfterMs }),
      ...(healthEveryMs === undefined ? {} : { healthEveryMs }),
    });
    this.#runners.set(service.name, runner);
    runner.start(service.needs.map((need) => this.#runners.get(need)?.firstReady ?? Promise.resolve()));
  }

  /** Settles when every service has been ready once; for those that are not vital it waits a few seconds. */
  async firstReady(): Promise<void> {
    const { clock, secondaryPatienceMs = defaultSecondaryPatienceMs } = this.#options;
    const runners = [...this.#runners.values()];
    await Promise.all(this.#vital.map((runner) => runner.firstReady));
    const patience = new AbortController();
    await Promise.race([
      Promise.all(runners.map((runner) => runner.firstReady)),
      clock.sleep(secondaryPatienceMs, patience.signal).catch(() => {}),
    ]);
    patience.abort();
  }

  /** True while every vital service runs and every health check of theirs holds. */
  get isHealthy(): boolean {
    return this.#vital.every((runner) => runner.isHealthy);
  }

  /** True while every vital service runs. */
  get isServing(): boolean {
    return this.#vital.every((runner) => runner.status().state === 'running');
  }

  get #vital(): readonly ServiceRunner[] {
    return [...this.#runners.values()].filter(({ service }) => service.isVital !== false);
  }

  /** In the order of the table. */
  status(): readonly ServiceStatus[] {
    return this.#services.map(({ name }) => {
      return this.#runners.get(name)?.status() ?? { name, state: 'stopped', failures: 0 };
    });
  }

  /** The last lines a service or job has printed, oldest first; undefined when there is no such name. */
  recentLines(name: string, count: number): readonly string[] | undefined {
    return this.#logs.get(name)?.recent(count);
  }

  /** False when there is no such service. */
  restart(name: string): boolean {
    const runner = this.#runners.get(name);
    runner?.restart();
    return runner !== undefined;
  }

  /** Makes every service that holds the certificate read it again. */
  reloadCertificates(): void {
    for (const runner of this.#runners.values()) {
      if (runner.service.usesCertificate === true) runner.reload();
    }
  }

  /** Stops everything in reverse order and writes the logs out. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#runningJobs;
    for (const step of stopOrder(this.#services)) {
      await Promise.all(step.map(async ({ name }) => this.#runners.get(name)?.stop()));
    }
    // What the services said last is still in the pipes.
    await this.#options.clock.sleep(20);
    for (const pipe of this.#pipes) pipe[Symbol.dispose]();
    await Promise.all([...this.#logs.values()].map((serviceLog) => serviceLog.flush()));
    for (const { name } of [...this.#services, ...this.#jobs]) this.#options.containment.remove(name);
  }
}
