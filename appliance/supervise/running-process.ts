/** A process that belongs to a service: spawned by us, or by a supervisor before us. */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { isAlive, readProcessStat } from './process-table.ts';
import type { Identity } from './service.ts';

export interface RunningProcess {
  readonly pid: number;
  readonly startTicks: number;
  /** Settles with how it ended, in words: "exit code 1", "killed by SIGKILL". Never rejects. */
  readonly ended: Promise<string>;
}

export interface SpawnRequest {
  readonly command: string;
  readonly args: readonly string[];
  readonly identity?: Identity | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly oomScoreAdjust?: number | undefined;
  /** Descriptor for stdout and stderr. */
  readonly outputFd: number;
}

const ownOomScorePath = '/proc/self/oom_score_adj';

/** Children inherit the score at fork, so it is set on ourselves for the moment of the spawn. */
function withOomScore<T>(adjust: number, start: () => T): T {
  let own: string;
  try {
    own = readFileSync(ownOomScorePath, 'latin1');
    writeFileSync(ownOomScorePath, String(adjust));
  } catch {
    // Not root: every process keeps the score it has.
    return start();
  }
  try {
    return start();
  } finally {
    try {
      writeFileSync(ownOomScorePath, own);
    } catch {
      // Raised and not allowed to lower it again (no CAP_SYS_RESOURCE): nothing that matters.
    }
  }
}

/**
 * Starts a process in a session of its own.
 * @throws Error when it cannot be started (no such file, no such user …)
 */
export function spawnProcess(request: SpawnRequest): Promise<RunningProcess> {
  const { command, args, identity, env, oomScoreAdjust = 0, outputFd } = request;
  const child = withOomScore(oomScoreAdjust, () =>
    spawn(command, args, {
      stdio: ['ignore', outputFd, outputFd],
      detached: true,
      cwd: '/',
      env: { PATH: '/usr/sbin:/usr/bin', ...env },
      ...(identity === undefined ? {} : { uid: identity.uid, gid: identity.gid }),
    }),
  );
  const ended = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) =>
      resolve(signal === null ? `exit code ${code ?? '?'}` : `killed by ${signal}`),
    );
  });
  const { pid } = child;
  if (pid === undefined) {
    return new Promise((_, reject) => {
      child.once('error', reject);
    });
  }
  child.on('error', () => {});
  // A process that is a zombie already still has its line in /proc: Node has not reaped it yet.
  const startTicks = readProcessStat(pid)?.startTicks ?? 0;
  return Promise.resolve({ pid, startTicks, ended });
}

const adoptedPollMs = 500;

/** Takes in hand a living process that is not our child; undefined when it does not live any more. */
export function adoptProcess(pid: number, startTicks: number, clock: Clock): RunningProcess | undefined {
  if (!isAlive(pid, startTicks)) return undefined;
  const watch = async (): Promise<string> => {
    // There is no way to be told: pidfd_open(2) is out of Node's reach. Two reads of /proc a second cost nothing.
    while (isAlive(pid, startTicks)) await clock.sleep(adoptedPollMs);
    return 'ended, how is not known';
  };
  return { pid, startTicks, ended: watch() };
}
