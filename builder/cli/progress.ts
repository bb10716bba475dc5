/**
 * Timed steps. On a terminal one line is redrawn while a step runs; elsewhere each finished step is one
 * line. With `json`, steps are objects on stdout and nothing is written for people.
 */
import { styleText } from 'node:util';
import type { CommandContext } from './command.ts';

export interface Step {
  /** Shows how far the step is; overwritten by the next call. */
  update(detail: string): void;
}

export interface Progress {
  /** Runs `work` as a step; its time and the returned `detail` are shown when it is done. */
  step<T>(title: string, work: (step: Step) => Promise<T>, detail?: (result: T) => string): Promise<T>;
  /** A line for people, between steps. */
  note(text: string): void;
  /** An event for `--json`; silent otherwise. */
  event(name: string, fields: Readonly<Record<string, unknown>>): void;
}

/** Redrawing more often than this only costs time. */
const redrawEveryMs = 80;

export function createProgress(context: CommandContext, json: boolean): Progress {
  const { stdout, stderr } = context;
  const terminal = !json && stderr.isTTY === true;
  const now = () => performance.now();
  const event: Progress['event'] = (name, fields) => {
    if (json) stdout.write(`${JSON.stringify({ event: name, ...fields })}\n`);
  };

  const step: Progress['step'] = async (title, work, detail) => {
    const started = now();
    let drawnAt = 0;
    const draw = (text: string, always: boolean) => {
      if (!terminal || (!always && now() - drawnAt < redrawEveryMs)) return;
      drawnAt = now();
      const width = (stderr.columns ?? 80) - 1;
      stderr.write(`\r\x1b[2K${`  … ${title}${text === '' ? '' : `  ${text}`}`.slice(0, width)}`);
    };
    draw('', true);
    try {
      const result = await work({ update: (text) => draw(text, false) });
      const seconds = (now() - started) / 1000;
      const extra = detail?.(result) ?? '';
      event('step', {
        title,
        seconds: Number(seconds.toFixed(3)),
        ...(extra === '' ? {} : { detail: extra }),
      });
      if (!json) {
        const mark = terminal ? styleText('green', '✓') : '✓';
        const line = `  ${mark} ${title.padEnd(28)} ${seconds.toFixed(2).padStart(7)} s  ${extra}`.trimEnd();
        stderr.write(`${terminal ? '\r\x1b[2K' : ''}${line}\n`);
      }
      return result;
    } catch (error) {
      if (terminal) stderr.write('\r\x1b[2K');
      throw error;
    }
  };

  return {
    step,
    event,
    note: (text) => {
      if (!json) stderr.write(`${text}\n`);
    },
  };
}

/** `12.3 MB`: decimal, as disks and downloads are sold. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(0)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
