/**
 * The log of one service: the last lines in memory, and a file on DATA that is bounded to two generations.
 * Lines are collected and written together, since SD cards wear by the number of writes; what looks like
 * an error is written at once.
 */
import { appendFile, rename, stat } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { systemCode } from '../base/errors.ts';

export interface LogLimits {
  /** A file that would grow beyond this is renamed to `.1`, replacing the one before. */
  readonly maxFileBytes: number;
  /** Lines wait in memory for so long, */
  readonly flushAfterMs: number;
  /** or until so many bytes have come together. */
  readonly maxPendingBytes: number;
  /** What is kept for the console and for `logs`. */
  readonly maxRecentBytes: number;
}

export const defaultLogLimits: LogLimits = {
  maxFileBytes: 1024 * 1024,
  flushAfterMs: 10_000,
  maxPendingBytes: 64 * 1024,
  maxRecentBytes: 32 * 1024,
};

/** The words of JSON log lines, Postfix, Dovecot, unbound and chrony for: look at this. */
export const urgentLine = /"level":"error"|\b(?:fatal|panic|error|emerg)\b/i;

export class ServiceLog {
  readonly #clock: Clock;
  readonly #limits: LogLimits;
  readonly #forDisk: (line: string) => string;
  #path: string | undefined;
  #sizeBytes = 0;
  #recent: string[] = [];
  #recentBytes = 0;
  #pending: string[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** @param forDisk what a line becomes before it goes to the file; in memory it stays as it is */
  constructor(
    clock: Clock,
    limits: LogLimits = defaultLogLimits,
    forDisk: (line: string) => string = (line) => line,
  ) {
    this.#clock = clock;
    this.#limits = limits;
    this.#forDisk = forDisk;
  }

  /** From now on lines go to the file; those that came before, as far as they are kept, go first. */
  async open(path: string): Promise<void> {
    this.#sizeBytes = await stat(path).then(
      ({ size }) => size,
      () => 0,
    );
    this.#path = path;
    await this.flush();
  }

  /** Adds a line with the time before it. */
  push(line: string): void {
    const time = new Date(this.#clock.wallMs()).toISOString();
    const stamped = `${time} ${line}`;
    this.#recent.push(stamped);
    this.#recentBytes += stamped.length;
    while (this.#recentBytes > this.#limits.maxRecentBytes && this.#recent.length > 1) {
      this.#recentBytes -= this.#recent.shift()?.length ?? 0;
    }
    const kept = `${time} ${this.#forDisk(line)}\n`;
    if (this.#pendingBytes + kept.length > 2 * this.#limits.maxPendingBytes) {
      // The disk does not keep up, or there is none.
      this.#dropped += 1;
      return;
    }
    this.#pending.push(kept);
    this.#pendingBytes += kept.length;
    if (this.#path === undefined) return;
    if (urgentLine.test(line) || this.#pendingBytes >= this.#limits.maxPendingBytes) this.#flushSoon(200);
    else this.#flushSoon(this.#limits.flushAfterMs);
  }

  /** The last lines, oldest first. */
  recent(count = Number.POSITIVE_INFINITY): readonly string[] {
    return count === Number.POSITIVE_INFINITY ? [...this.#recent] : this.#recent.slice(-Math.max(count, 1));
  }

  /** Writes what waits. A full or broken disk loses lines, never the service. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  #dueMs = 0;

  #flushSoon(withinMs: number): void {
    const dueMs = this.#clock.monotonicMs() + withinMs;
    if (this.#timer !== undefined && this.#dueMs <= dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => void this.flush(), withinMs);
  }

  async #write(): Promise<void> {
    const path = this.#path;
    if (path === undefined || this.#pending.length === 0) return;
    if (this.#dropped > 0) this.#pending.push(`(${this.#dropped} lines were dropped here)\n`);
    const text = this.#pending.join('');
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#dropped = 0;
    const bytes = Buffer.byteLength(text);
    try {
      if (this.#sizeBytes > 0 && this.#sizeBytes + bytes > this.#limits.maxFileBytes) {
        await rename(path, `${path}.1`).catch((error: unknown) => {
          if (systemCode(error) !== 'ENOENT') throw error;
        });
        this.#sizeBytes = 0;
      }
      await appendFile(path, text, { mode: 0o640 });
      this.#sizeBytes += bytes;
    } catch {
      // ENOSPC, EROFS, EIO: the console shows the state of the disk; the last lines are still in memory.
    }
  }
}
