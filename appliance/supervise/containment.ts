/**
 * Everything a service has started, so that nothing of it outlives a stop or a crash: a killed Postfix
 * master leaves smtpd processes that hold the ports, a killed Dovecot its imap processes.
 *
 * With cgroup v2 (the appliance) each service has a cgroup; a process cannot leave it, and cgroup.kill
 * (Linux 5.14) ends all of it at once. Without it the session made at the start serves: less sure, since
 * a process may call setsid(2) itself. Kernel: Documentation/admin-guide/cgroup-v2.rst.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { sendSignal, sessionMembers } from './process-table.ts';

export interface Containment {
  readonly kind: 'cgroup' | 'session';
  /** Calls `start`, which must spawn synchronously: what it spawns belongs to the service from its first instruction. */
  enter<T>(service: string, start: () => T): T;
  /** Living processes of the service. `leaderPid`: the process spawned last. */
  members(service: string, leaderPid: number | undefined): readonly number[];
  /** Kills what is left of the service and waits until it is gone. */
  killAll(service: string, leaderPid: number | undefined): Promise<void>;
  /** Forgets the service's group, which must be empty. */
  remove(service: string): void;
}

const emptyPollMs = 10;
/** A process in uninterruptible sleep may take long to die; more than this and we go on without it. */
const emptyTimeoutMs = 5000;

async function waitUntilEmpty(
  clock: Clock,
  members: () => readonly number[],
  kill: () => void,
): Promise<void> {
  const deadlineMs = clock.monotonicMs() + emptyTimeoutMs;
  while (members().length > 0 && clock.monotonicMs() < deadlineMs) {
    kill();
    await clock.sleep(emptyPollMs);
  }
}

/** Groups by session, for where there is no cgroup v2. */
export function sessionContainment(clock: Clock): Containment {
  const members = (_: string, leaderPid: number | undefined): readonly number[] =>
    leaderPid === undefined ? [] : sessionMembers(leaderPid);
  return {
    kind: 'session',
    enter: (_, start) => start(),
    members,
    killAll: (service, leaderPid) =>
      waitUntilEmpty(
        clock,
        () => members(service, leaderPid),
        () => members(service, leaderPid).forEach((pid) => sendSignal(pid, 'SIGKILL')),
      ),
    remove: () => {},
  };
}

/**
 * Groups in cgroups below `root`, which is made if it is not there.
 * @param homeCgroup where the supervisor itself lives
 * @throws Error when the directory is no cgroup v2 or cannot be written
 */
export function cgroupContainment(root: string, homeCgroup: string, clock: Clock): Containment {
  mkdirSync(root, { recursive: true });
  if (!existsSync(join(root, 'cgroup.kill'))) throw new Error(`${root} is no cgroup v2 with cgroup.kill`);
  const directory = (service: string): string => join(root, service);
  const moveSelf = (cgroup: string): void => writeFileSync(join(cgroup, 'cgroup.procs'), String(process.pid));
  const members = (service: string): readonly number[] => {
    try {
      return readFileSync(join(directory(service), 'cgroup.procs'), 'latin1')
        .split('\n')
        .filter(Boolean)
        .map(Number);
    } catch {
      return [];
    }
  };
  // Proves now that moving there and back is allowed, not at the first start of a service.
  moveSelf(root);
  moveSelf(homeCgroup);
  return {
    kind: 'cgroup',
    enter: (service, start) => {
      mkdirSync(directory(service), { recursive: true });
      // A child is born in its parent's cgroup: moving it afterwards would miss what it forks meanwhile.
      moveSelf(directory(service));
      try {
        return start();
      } finally {
        moveSelf(homeCgroup);
      }
    },
    members,
    killAll: (service) =>
      waitUntilEmpty(
        clock,
        () => members(service),
        () => writeFileSync(join(directory(service), 'cgroup.kill'), '1'),
      ),
    remove: (service) => {
      if (existsSync(directory(service))) rmdirSync(directory(service));
      try {
        rmdirSync(root);
      } catch {
        // Other services are still in it.
      }
    },
  };
}

/** Where the cgroup v2 tree is mounted, and where in it this process lives; undefined without one. */
export function findCgroup2(
  mountinfo: string,
  ownCgroup: string,
): { mount: string; home: string } | undefined {
  // proc_pid_mountinfo(5): id parent major:minor root mount-point options … - type source options
  const mount = mountinfo
    .split('\n')
    .find((line) => / - cgroup2 /.test(line))
    ?.split(' ')[4];
  const home = /^0::(\/.*)$/m.exec(ownCgroup)?.[1];
  // In a cgroup namespace a process outside its root has a path that starts with /..
  if (mount === undefined || home === undefined || home.startsWith('/..')) return undefined;
  return { mount, home: join(mount, home) };
}

/** Cgroups where they work, sessions elsewhere. `name` is that of the directory below the cgroup mount. */
export function chooseContainment(name: string, clock: Clock): Containment {
  try {
    const found = findCgroup2(
      readFileSync('/proc/self/mountinfo', 'utf8'),
      readFileSync('/proc/self/cgroup', 'utf8'),
    );
    if (found !== undefined) return cgroupContainment(join(found.mount, name), found.home, clock);
  } catch {
    // Not root, a read-only mount, a kernel before 5.14: sessions do.
  }
  return sessionContainment(clock);
}
