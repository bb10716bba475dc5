/** Keeps the consoles showing how things are: screens are redrawn, serial lines told what is new. */
import type { Clock } from '../base/clock.ts';
import type { ConsoleOutput } from './outputs.ts';
import { qrCodeLines } from './qr-code.ts';
import { drawScreen, layOut, screenKey, type ScreenState, statusLines } from './screen.ts';

export interface StatusConsoleOptions {
  readonly clock: Clock;
  readonly outputs: readonly ConsoleOutput[];
  /** How things are now. With a fresh invitation when `fresh` is true. */
  readonly readState: (fresh: boolean) => Promise<ScreenState>;
  readonly signal: AbortSignal;
}

/** For tests and tools on the other end of a serial line: printed once, when everything runs. */
export const readyLine = 'chatmail: ready';

/** Changes are shown after so long, together with those that follow. */
const settleMs = 300;
/** Without any change: disk use moves, and addresses come and go unannounced. */
const lookAgainMs = 15_000;
/** Who scans an invitation first owns it, so the one on a screen does not stand for ever. */
const invitationMs = 10 * 60_000;

/** Clear, home, no cursor, no blanking after minutes (console_codes(4)). */
const redrawSequence = '\u001B[2J\u001B[H\u001B[?25l\u001B[9;0]';

export class StatusConsole {
  readonly #options: StatusConsoleOptions;
  #wake = new AbortController();
  #printed = new Set<string>();
  #key = '';
  #invitationUntilMs = 0;
  #isReady = false;

  constructor(options: StatusConsoleOptions) {
    this.#options = options;
  }

  /** Something has changed. */
  notify(): void {
    this.#wake.abort();
  }

  /** Everything runs: prints the whole screen everywhere, and the ready line. */
  async ready(): Promise<void> {
    this.#isReady = true;
    await this.#show();
    await this.#print(`${readyLine}\n`, 'printer');
  }

  /** Shows until `signal` fires. */
  async run(): Promise<void> {
    const { clock, signal } = this.#options;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      await this.#show();
      await clock.sleep(lookAgainMs, AbortSignal.any([signal, this.#wake.signal])).catch(() => {});
      await clock.sleep(settleMs, signal).catch(() => {});
    }
  }

  async #show(): Promise<void> {
    const { clock, readState, outputs } = this.#options;
    const isOld = clock.monotonicMs() >= this.#invitationUntilMs;
    if (isOld) this.#invitationUntilMs = clock.monotonicMs() + invitationMs;
    const state = await readState(isOld);
    const key = screenKey(state);
    const isNew = key !== this.#key;
    this.#key = key;
    const lines = statusLines(state);
    if (isNew || isOld || this.#isReady) {
      const code = state.inviteUri === undefined ? [] : await qrCodeLines(state.inviteUri);
      for (const output of outputs.filter(({ kind }) => kind === 'screen')) {
        const text = drawScreen(state, code, output).join('\n');
        await output.write(`${redrawSequence}${text}`);
      }
      if (this.#isReady) {
        this.#isReady = false;
        this.#printed = new Set(lines);
        const invitation = state.inviteUri === undefined ? [] : [state.inviteUri];
        const whole = [...lines, ...invitation, ...layOut([], code, { columns: 0 })];
        await this.#print(`\n${whole.join('\n')}\n`, 'printer');
        return;
      }
    }
    if (isNew) await this.#printNews(lines);
  }

  /** Serial lines are logs to their readers: only what was not there before. */
  async #printNews(lines: readonly string[]): Promise<void> {
    const news = lines.filter((line) => line !== '' && !this.#printed.has(line));
    this.#printed = new Set(lines);
    if (news.length > 0)
      await this.#print(news.map((line) => `chatmail: ${line.trim()}\n`).join(''), 'printer');
  }

  async #print(text: string, kind: ConsoleOutput['kind']): Promise<void> {
    for (const output of this.#options.outputs) if (output.kind === kind) await output.write(text);
  }
}
