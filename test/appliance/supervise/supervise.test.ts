import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../../appliance/base/clock.ts';
import { silentLog } from '../../../appliance/base/log.ts';
import { chooseContainment, sessionContainment } from '../../../appliance/supervise/containment.ts';
import { isAlive, readProcessStat, sendSignal } from '../../../appliance/supervise/process-table.ts';
import type { Job, Service } from '../../../appliance/supervise/service.ts';
import { Supervision, type SupervisionOptions } from '../../../appliance/supervise/supervise.ts';

const sh = (name: string, script: string, rest: Partial<Service> = {}): Service => ({
  name,
  command: '/bin/sh',
  args: ['-c', script],
  needs: [],
  ready: { kind: 'alive', forMs: 20 },
  ...rest,
});

/** Waits for a condition as the tests' only clock: the processes are real. */
async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadlineMs = Date.now() + 15_000;
  while (!(await condition())) {
    if (Date.now() > deadlineMs) throw new Error(`Never came: ${what}`);
    await systemClock.sleep(10);
  }
}

let groups = 0;
/** Both ways where cgroups work (root, cgroup v2), else sessions twice. */
const containments = {
  session: () => sessionContainment(systemClock),
  cgroup: () => chooseContainment(`chatmail-test-${process.pid}-${(groups += 1)}`, systemClock),
};

interface Bench {
  readonly supervision: Supervision;
  readonly directory: string;
  readonly status: (name: string) => ReturnType<Supervision['status']>[number];
  readonly log: (name: string) => Promise<string>;
}

async function bench(
  services: readonly Service[],
  options: Partial<SupervisionOptions> & { jobs?: readonly Job[] } = {},
): Promise<Bench> {
  const temporary = await mkdtempDisposable(join(tmpdir(), 'supervise-'));
  const supervision = new Supervision(services, options.jobs ?? [], {
    clock: systemClock,
    log: silentLog,
    containment: containments.session(),
    runDirectory: join(temporary.path, 'run'),
    logDirectory: join(temporary.path, 'log'),
    ...options,
  });
  onTestFinished(async () => {
    await supervision.stop();
    await temporary.remove();
  });
  await supervision.start();
  return {
    supervision,
    directory: temporary.path,
    status: (name) =>
      supervision.status().find((status) => status.name === name) ?? { name, state: 'stopped', failures: 0 },
    log: (name) => readFile(join(temporary.path, 'log', `${name}.log`), 'utf8'),
  };
}

describe.skipIf(process.platform !== 'linux')('Supervision', () => {
  test('starts in order, keeps the output with times, stops in reverse order', async () => {
    await using temporary = await mkdtempDisposable(join(tmpdir(), 'supervise-order-'));
    const order = join(temporary.path, 'order');
    const script = (name: string) =>
      `echo start-${name} >>"$ORDER"; sleep 0.1; echo hello; trap 'echo end-${name} >>"$ORDER"; exit 0' TERM; while :; do sleep 0.02; done`;
    const ready = { kind: 'log', pattern: /^hello$/ } as const;
    const { supervision, log } = await bench([
      sh('second', script('second'), { needs: ['first'], ready, env: { ORDER: order } }),
      sh('first', script('first'), { ready, env: { ORDER: order } }),
    ]);
    await supervision.firstReady();
    expect(supervision.isHealthy).toBe(true);
    const pids = supervision.status().map(({ pid }) => pid ?? 0);
    await supervision.stop();
    expect((await readFile(order, 'utf8')).trim().split('\n')).toEqual([
      'start-first',
      'start-second',
      'end-second',
      'end-first',
    ]);
    expect(supervision.status().map(({ state }) => state)).toEqual(['stopped', 'stopped']);
    expect(pids.map((pid) => readProcessStat(pid))).toEqual([undefined, undefined]);
    expect(await log('first')).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z hello\n$/);
  });

  test('is back within two seconds of a SIGKILL', async () => {
    const { supervision, status } = await bench([sh('mail', 'exec sleep 1000')]);
    await supervision.firstReady();
    const { pid = 0 } = status('mail');
    const killedMs = Date.now();
    sendSignal(pid, 'SIGKILL');
    await until(() => status('mail').state === 'running' && status('mail').pid !== pid, 'a new process');
    expect(Date.now() - killedMs).toBeLessThan(2000);
    expect(status('mail').failures).toBe(1);
  });

  test('backs off a service that keeps dying and shows why', async () => {
    const { status } = await bench([sh('sick', 'exit 3')], { backOffScheduleMs: [10, 20, 100_000] });
    await until(() => status('sick').failures === 3, 'three failures');
    expect(status('sick')).toMatchObject({ state: 'back-off', reason: 'exit code 3' });
  });

  test('shows the first error that a service printed before it was ready, and none after', async () => {
    await using temporary = await mkdtempDisposable(join(tmpdir(), 'supervise-error-'));
    const mended = join(temporary.path, 'mended');
    const script = `echo fine; test -e ${mended} && echo open && sleep 0.2 && echo error: late && exit 4
      echo "conf:1: error: what is this${'!'.repeat(300)}"; echo fatal error: giving up; exit 3`;
    const { status } = await bench([sh('sick', script, { ready: { kind: 'log', pattern: /^open$/ } })], {
      backOffScheduleMs: [10, 200],
    });
    await until(() => status('sick').reason?.includes('conf') === true, 'the error');
    const { reason = '' } = status('sick');
    expect(reason).toMatch(/^exit code 3: conf:1: error: what is this!+…$/);
    expect(reason.length).toBeLessThan(200);
    await until(() => status('sick').failures >= 3, 'another failure');
    expect(status('sick').reason).toBe(reason);
    await writeFile(mended, '');
    await until(() => status('sick').state === 'running', 'the repair');
    expect(status('sick').reason).toBeUndefined();
    await until(() => status('sick').reason !== undefined, 'a death');
    expect(status('sick').reason).toBe('exit code 4');
  });

  test('forgets earlier deaths after a healthy time', async () => {
    const { status } = await bench([sh('weak', 'sleep 0.15; exit 1')], {
      backOffScheduleMs: [10, 100_000],
      healthyAfterMs: 100,
    });
    let runs = 0;
    let last: number | undefined;
    await until(() => {
      const { pid } = status('weak');
      if (pid !== undefined && pid !== last) runs += 1;
      last = pid ?? last;
      return runs >= 3;
    }, 'three runs');
    expect(status('weak').failures).toBe(1);
  });

  test('shows a program that is not there instead of failing itself', async () => {
    const { status } = await bench([{ ...sh('none', ''), command: '/nonexistent/program' }]);
    await until(() => status('none').state === 'back-off', 'back-off');
    expect(status('none').reason).toContain('ENOENT');
  });

  test('is ready without what is not vital, but waits a moment for it', async () => {
    const { supervision, status } = await bench(
      [sh('mail', 'exec sleep 1000'), sh('pages', 'exit 1', { isVital: false })],
      { secondaryPatienceMs: 50 },
    );
    await supervision.firstReady();
    expect(status('mail').state).toBe('running');
    expect(status('pages').failures).toBeGreaterThan(0);
  });

  test('gives up on a start that never gets ready', async () => {
    const { status } = await bench([
      sh('deaf', 'exec sleep 1000', { ready: { kind: 'unix', path: '/nonexistent' }, readyTimeoutMs: 100 }),
    ]);
    await until(() => status('deaf').failures > 0, 'a failure');
    expect(status('deaf').reason).toBe('not ready after 0.1 s');
  });

  test('kills what ignores the stop signal after its deadline', async () => {
    const { supervision, status } = await bench([
      sh('stubborn', 'trap "" TERM; while :; do sleep 0.05; done', { stopTimeoutMs: 200 }),
    ]);
    await supervision.firstReady();
    const { pid = 0 } = status('stubborn');
    await supervision.stop();
    expect(readProcessStat(pid)).toBeUndefined();
  });

  test('restarts on request without counting it as a failure', async () => {
    const { supervision, status } = await bench([sh('web', 'exec sleep 1000')]);
    await supervision.firstReady();
    const { pid } = status('web');
    expect(supervision.restart('web')).toBe(true);
    expect(supervision.restart('nobody')).toBe(false);
    await until(() => status('web').state === 'running' && status('web').pid !== pid, 'a new process');
    expect(status('web').failures).toBe(0);
  });

  test('reloads certificates by signal where there is one, by restart elsewhere', async () => {
    const { supervision, status, log } = await bench([
      sh('hup', 'trap "echo reloaded" HUP; echo up; while :; do sleep 0.02; done', {
        ready: { kind: 'log', pattern: /up/ },
        reloadSignal: 'SIGHUP',
        usesCertificate: true,
      }),
      sh('plain', 'exec sleep 1000', { usesCertificate: true }),
      sh('other', 'exec sleep 1000'),
    ]);
    await supervision.firstReady();
    const before = supervision.status().map(({ pid }) => pid);
    supervision.reloadCertificates();
    await until(() => status('plain').state === 'running' && status('plain').pid !== before[1], 'a restart');
    await until(() => supervision.recentLines('hup', 1)?.[0]?.endsWith('reloaded') ?? false, 'a reload');
    expect(status('hup').pid).toBe(before[0]);
    expect(status('other').pid).toBe(before[2]);
    await supervision.stop();
    expect(await log('hup')).toContain(' reloaded\n');
  });

  test('runs a job again and again, and kills one that takes too long', async () => {
    const job = (name: string, script: string, timeoutMs: number): Job => ({
      name,
      command: '/bin/sh',
      args: ['-c', script],
      firstAfterMs: 10,
      everyMs: 100,
      timeoutMs,
    });
    const { supervision } = await bench([], {
      jobs: [job('quick', 'echo ran', 10_000), job('slow', 'echo began; exec sleep 1000', 50)],
    });
    await until(() => (supervision.recentLines('quick', 9) ?? []).length >= 2, 'two runs');
    await until(() => (supervision.recentLines('slow', 9) ?? []).length >= 2, 'two runs of the slow one');
  });

  test.each(['session', 'cgroup'] as const)(
    'leaves no orphan of a killed master behind (%s)',
    async (kind) => {
      const { supervision, status } = await bench(
        [sh('master', 'sleep 1000 & echo child $!; wait', { ready: { kind: 'log', pattern: /child/ } })],
        { containment: containments[kind]() },
      );
      await supervision.firstReady();
      const orphan = Number(/child (\d+)/.exec(supervision.recentLines('master', 1)?.[0] ?? '')?.[1]);
      const { startTicks = 0 } = readProcessStat(orphan) ?? {};
      expect(isAlive(orphan, startTicks)).toBe(true);
      sendSignal(status('master').pid ?? 0, 'SIGKILL');
      await until(() => status('master').failures === 1, 'the death');
      await until(() => status('master').state === 'running', 'a new start');
      expect(isAlive(orphan, startTicks)).toBe(false);
    },
  );
});

const program = fileURLToPath(new URL('fixtures/supervisor-process.ts', import.meta.url));

interface Supervisor {
  readonly child: ChildProcess;
  line(pattern: RegExp): Promise<string>;
}

function startSupervisor(services: readonly Service[], directory: string, containment: string): Supervisor {
  const child = spawn(process.execPath, [program, JSON.stringify(services), directory, containment], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return {
    child,
    line: async (pattern) => {
      await until(() => lines.some((line) => pattern.test(line)), `${pattern} from the supervisor`);
      return lines.find((line) => pattern.test(line)) ?? '';
    },
  };
}

describe.skipIf(process.platform !== 'linux')('A killed supervisor', () => {
  test.each(['session', `chatmail-test-${process.pid}-kill`])(
    'is followed by one that takes the services in hand without restarting them (%s)',
    async (containment) => {
      await using temporary = await mkdtempDisposable(join(tmpdir(), 'supervise-'));
      const services = [
        sh(
          'chatty',
          'trap "echo bye; exit 0" TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done',
        ),
      ];
      const first = startSupervisor(services, temporary.path, containment);
      await first.line(/ALL READY/);
      const record = async (): Promise<{ pid: number; startTicks: number }> =>
        JSON.parse(await readFile(join(temporary.path, 'run/services/chatty.json'), 'utf8')) as never;
      const { pid, startTicks } = await record();
      first.child.kill('SIGKILL');
      await until(() => first.child.signalCode !== null, 'its end');
      // The service writes on with nobody there; nothing of it may be lost or kill it.
      await systemClock.sleep(200);
      expect(isAlive(pid, startTicks)).toBe(true);

      const second = startSupervisor(services, temporary.path, containment);
      await second.line(/"event":"adopted"/);
      await second.line(/ALL READY/);
      expect(await record()).toMatchObject({ pid, startTicks });

      sendSignal(pid, 'SIGKILL');
      await second.line(/"event":"service ended"/);
      await until(async () => {
        const now = await record().catch(() => undefined);
        return now !== undefined && now.pid !== pid;
      }, 'a new process');

      second.child.kill('SIGTERM');
      await second.line(/ALL STOPPED/);
      await until(() => second.child.exitCode === 0, 'an exit');
      const text = await readFile(join(temporary.path, 'log/chatty.log'), 'utf8');
      expect(text).toMatch(/ bye\n$/);
      const numbers = [...text.matchAll(/ line (\d+)$/gm)].map((match) => Number(match[1]));
      const firstRun = numbers.slice(0, numbers.indexOf(1, 1));
      // Lines that the killed supervisor had in memory are lost; those written while there was none are not.
      const tail = firstRun.slice(-10);
      expect(tail).toEqual(tail.map((_, index) => (tail[0] ?? 0) + index));
    },
  );
});
