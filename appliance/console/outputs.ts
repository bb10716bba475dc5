/**
 * The machine's consoles: the text screen, and every serial line the kernel was told of. Written to, never
 * read from: nobody logs in here.
 */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { runCommand } from '../base/run-command.ts';
import { tools } from '../base/tools.ts';

export interface ConsoleOutput {
  /** A screen is redrawn, a line printer (serial, a log) is only ever added to. */
  readonly kind: 'screen' | 'printer';
  readonly columns: number;
  readonly rows: number;
  /** Never rejects: a console that is gone must not stop a relay. */
  write(text: string): Promise<void>;
}

/** Of the text screen that every PC has. */
const defaultSize = { columns: 80, rows: 25 } as const;

/**
 * Which consoles there are, from /sys/class/tty/console/active: "tty0 ttyS0". Pure.
 * @returns device paths: at most one screen
 */
export function consoleDevices(active: string): readonly { kind: ConsoleOutput['kind']; path: string }[] {
  const names = active
    .trim()
    .split(/\s+/)
    .filter((name) => /^[A-Za-z0-9]+$/.test(name));
  const isScreen = (name: string): boolean => /^tty\d+$/.test(name);
  return [
    ...(names.some(isScreen) ? [{ kind: 'screen', path: '/dev/tty1' } as const] : []),
    ...names
      .filter((name) => !isScreen(name))
      .map((name) => ({ kind: 'printer', path: `/dev/${name}` }) as const),
  ];
}

/** Opens the consoles there are. */
export async function openConsoles(signal: AbortSignal): Promise<readonly ConsoleOutput[]> {
  const active = await readFile('/sys/class/tty/console/active', 'latin1').catch(() => '');
  const outputs: ConsoleOutput[] = [];
  for (const { kind, path } of consoleDevices(active)) {
    const file = await open(path, 'r+').catch(() => undefined);
    if (file === undefined) continue;
    const size = kind === 'screen' ? await readSize(path, signal) : defaultSize;
    outputs.push(fileOutput(file, kind, size));
  }
  return outputs;
}

type Size = Pick<ConsoleOutput, 'columns' | 'rows'>;

function fileOutput(file: FileHandle, kind: ConsoleOutput['kind'], size: Size): ConsoleOutput {
  let queue = Promise.resolve();
  let waiting = 0;
  return {
    kind,
    ...size,
    write: (text) => {
      // A serial line whose other end has stopped reading blocks its write for ever: what comes then is dropped.
      if (waiting >= 16) return queue;
      waiting += 1;
      queue = queue.then(async () => {
        await file.write(text.replaceAll('\n', '\r\n')).catch(() => {});
        waiting -= 1;
      });
      return queue;
    },
  };
}

async function readSize(path: string, signal: AbortSignal): Promise<Size> {
  try {
    const { stdout } = await runCommand([tools.busybox, 'stty', '-F', path, 'size'], { signal });
    const [rows = 0, columns = 0] = stdout.trim().split(' ').map(Number);
    return columns >= 40 && rows >= 10 ? { columns, rows } : defaultSize;
  } catch {
    return defaultSize;
  }
}

/** Our own standard output, where there is no console: in a namespace. */
export const standardOutput: ConsoleOutput = {
  kind: 'printer',
  ...defaultSize,
  write: (text) =>
    new Promise((resolve) => {
      process.stdout.write(text, () => resolve());
    }),
};
