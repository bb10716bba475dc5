/** What the guest writes to its serial port: kept, bounded, and waited upon. */
import { stripVTControlCharacters } from 'node:util';

/** What is kept of a talkative guest; a boot writes some 30 kB. */
const maxKeptCharacters = 4 * 1024 * 1024;

/** A firmware without newlines would otherwise make one endless line. */
const maxLineCharacters = 4096;

export interface GuestConsole {
  /** Everything so far (the last 4 Mi characters of it), carriage returns and escape sequences taken out. */
  readonly text: string;
  /** How many characters there were so far: a place to wait `from`. */
  readonly position: number;
  /** The last `count` lines that are not empty. */
  lastLines(count: number): string[];
  /**
   * Waits for text after the position `from` (default 0: what was written before counts).
   * @throws whatever the signal was aborted with
   */
  waitFor(
    pattern: RegExp,
    options: { readonly signal: AbortSignal; readonly from?: number },
  ): Promise<RegExpExecArray>;
}

export interface ConsoleRecorder extends GuestConsole {
  push(chunk: string): void;
  /** Called with each finished line. */
  onLine(listener: (line: string) => void): void;
  /** Ends all waits with this error. */
  end(reason: Error): void;
}

interface Wait {
  readonly pattern: RegExp;
  readonly from: number;
  resolve(match: RegExpExecArray): void;
  reject(reason: unknown): void;
}

export function createConsole(): ConsoleRecorder {
  let text = '';
  let dropped = 0;
  let line = '';
  let escape = '';
  let ended: Error | undefined;
  const listeners: ((line: string) => void)[] = [];
  const waits = new Set<Wait>();

  const attempt = (wait: Wait): boolean => {
    const match = wait.pattern.exec(text.slice(Math.max(0, wait.from - dropped)));
    if (match === null) return false;
    waits.delete(wait);
    wait.resolve(match);
    return true;
  };

  return {
    get text() {
      return text;
    },
    get position() {
      return dropped + text.length;
    },
    lastLines: (count) =>
      text
        .split('\n')
        .filter((one) => one.trim() !== '')
        .slice(-count),
    waitFor(pattern, { signal, from = 0 }) {
      signal.throwIfAborted();
      // A sticky or global pattern would remember where it was from one attempt to the next.
      const fresh = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''));
      const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
      const wait: Wait = { pattern: fresh, from, resolve, reject };
      if (attempt(wait)) return promise;
      if (ended !== undefined) return Promise.reject(ended);
      waits.add(wait);
      const abort = () => {
        waits.delete(wait);
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      return promise.finally(() => signal.removeEventListener('abort', abort));
    },
    push(chunk) {
      const whole = escape + chunk;
      // The start of an escape sequence whose end has not come yet.
      escape = unfinishedEscape(whole);
      const plain = withoutControls(whole.slice(0, whole.length - escape.length));
      text += plain;
      const excess = Math.max(0, text.length - maxKeptCharacters);
      text = text.slice(excess);
      dropped += excess;
      const lines = (line + plain).split('\n');
      line = (lines.pop() ?? '').slice(-maxLineCharacters);
      for (const one of lines) for (const listener of listeners) listener(one);
      for (const wait of waits) attempt(wait);
    },
    onLine: (listener) => listeners.push(listener),
    end(reason) {
      ended ??= reason;
      for (const wait of waits) wait.reject(ended);
      waits.clear();
    },
  };
}

/** Longest start of an escape sequence worth waiting for its end. */
const maxEscapeCharacters = 32;

function unfinishedEscape(text: string): string {
  const start = text.lastIndexOf('\u001b');
  const tail = start === -1 ? '' : text.slice(start);
  return tail.length <= maxEscapeCharacters && !/[\p{L}\n]/u.test(tail) ? tail : '';
}

/** Escape sequences and control characters other than newline and tab. */
function withoutControls(chunk: string): string {
  return stripVTControlCharacters(chunk).replace(/[^\P{Cc}\n\t]/gu, '');
}
