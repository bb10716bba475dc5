/** Processes as Linux shows them: proc(5), /proc/<pid>/stat. */
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessStat {
  readonly pid: number;
  /** R, S, D, Z (dead, not yet reaped) … */
  readonly state: string;
  readonly parentPid: number;
  readonly processGroup: number;
  readonly session: number;
  /** Clock ticks since boot; with the pid it names one process and no later one. */
  readonly startTicks: number;
}

/**
 * Decodes one line of /proc/<pid>/stat.
 * @returns undefined when it is none
 */
export function decodeProcessStat(text: string): ProcessStat | undefined {
  // The name in parentheses may itself hold spaces and parentheses.
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return undefined;
  const pid = Number(text.slice(0, open));
  const fields = text.slice(close + 2).split(' ');
  const number = (index: number): number => Number(fields[index]);
  const stat = {
    pid,
    state: fields[0] ?? '',
    parentPid: number(1),
    processGroup: number(2),
    session: number(3),
    startTicks: number(19),
  };
  const isWhole = [stat.pid, stat.parentPid, stat.processGroup, stat.session, stat.startTicks].every(
    Number.isSafeInteger,
  );
  return isWhole && stat.state !== '' ? stat : undefined;
}

/** The process as it is now, undefined when there is none. */
export function readProcessStat(pid: number): ProcessStat | undefined {
  try {
    return decodeProcessStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** True while the process started at `startTicks` lives; a zombie does not. */
export function isAlive(pid: number, startTicks: number): boolean {
  const stat = readProcessStat(pid);
  return stat !== undefined && stat.startTicks === startTicks && stat.state !== 'Z' && stat.state !== 'X';
}

/** Living processes of a session (setsid(2)). */
export function sessionMembers(session: number): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcessStat(Number(name)))
    .filter((stat) => stat !== undefined && stat.session === session && stat.state !== 'Z')
    .map((stat) => stat?.pid ?? 0);
}

/** Sends a signal; a process that is gone already is none of our business. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // ESRCH: it has ended meanwhile.
  }
}
