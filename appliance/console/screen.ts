/** The status screen as text. Pure: state in, lines out. */
import type { Problem, ServiceStatus } from '../contract/status.ts';

export interface DiskState {
  readonly usedBytes: number;
  readonly totalBytes: number;
  /** With less than this left, Postfix refuses mail for the time being. */
  readonly minFreeBytes: number;
}

export interface ScreenState {
  /** `chat.example.org`, or why there is none. */
  readonly title: string;
  readonly addresses: readonly string[];
  readonly services: readonly ServiceStatus[];
  /** Undefined where somebody else keeps the time. */
  readonly clockOk: boolean | undefined;
  readonly disk: DiskState | undefined;
  /** Whose the certificate is and how long it lasts; undefined while nobody says. */
  readonly certificate?: string | undefined;
  /** What is wrong, each with what to do about it. */
  readonly problems: readonly Problem[];
  readonly notes: readonly string[];
  /** Undefined until accounts can be made. */
  readonly inviteUri: string | undefined;
}

function isFull({ usedBytes, totalBytes, minFreeBytes }: DiskState): boolean {
  return totalBytes - usedBytes < minFreeBytes;
}

/** The screen's text, without the invitation itself. */
export function statusLines(state: ScreenState): readonly string[] {
  const { title, addresses, services, clockOk, disk, certificate, notes, inviteUri } = state;
  const lines = [`Chatmail relay ${title}`, ''];
  lines.push(
    `Address  ${addresses.length === 0 ? 'none yet: is the network cable plugged in?' : ''}`.trimEnd(),
  );
  lines.push(...addresses.map((address) => `  ${address}`));
  lines.push('', 'Services');
  if (services.length === 0) lines.push('  none are running');
  for (const { name, state: is, reason, failures } of services) {
    const why = reason === undefined ? '' : `: ${reason}${failures > 1 ? `, ${failures} times` : ''}`;
    lines.push(`  ${name.padEnd(9)} ${is === 'running' ? 'ok' : is}${why}`);
  }
  lines.push('');
  if (clockOk !== undefined) lines.push(`Clock    ${clockOk ? 'ok' : 'not set by the network yet'}`);
  if (disk !== undefined) lines.push(`Disk     ${describeDisk(disk)}`);
  if (certificate !== undefined) lines.push(`TLS      ${certificate}`);
  for (const { path, message, fix } of allProblems(state)) {
    lines.push(
      '',
      `PROBLEM  ${message}${message.toLowerCase().includes(path.toLowerCase()) ? '' : ` (${path})`}`,
      `  -> ${fix}`,
    );
  }
  for (const note of notes) lines.push('', `Note     ${note}`);
  if (inviteUri !== undefined) lines.push('', 'To get an account, scan with Delta Chat');
  return lines;
}

function allProblems({ problems, disk }: ScreenState): readonly Problem[] {
  if (disk === undefined || !isFull(disk)) return problems;
  const full = {
    path: 'disk',
    message: 'The disk is full: mail is refused for the time being',
    fix: 'Set mail.deleteAfterDays or mail.quotaBytes lower in chatmail.json, or move to a larger disk',
  };
  return [...problems, full];
}

function describeDisk({ usedBytes, totalBytes }: DiskState): string {
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1);
  const percent = totalBytes === 0 ? 0 : Math.round((100 * usedBytes) / totalBytes);
  return `${percent} % of ${gigabytes(totalBytes)} GB used`;
}

/** What makes a screen worth printing again: the disk's last per cents do not. */
export function screenKey({ services, disk, ...rest }: ScreenState): string {
  return JSON.stringify([
    { ...rest, inviteUri: rest.inviteUri !== undefined },
    disk !== undefined && isFull(disk),
    services.map(({ name, state, reason }) => [name, state, reason]),
  ]);
}

/** Narrower than this, text beside the code is no pleasure to read. */
const minTextWidth = 28;

/** Black on white whatever the terminal's colours: a scanner wants the code that way round. */
const codeColours = '\u001B[30;107m';
const plainColours = '\u001B[0m';

/**
 * The screen for a terminal: whole where its rows are enough, else in short, so that neither the code nor what
 * is wrong is pushed off it.
 */
export function drawScreen(
  state: ScreenState,
  code: readonly string[],
  size: { readonly columns: number; readonly rows: number },
): readonly string[] {
  const whole = layOut(statusLines(state), code, size);
  return whole.length <= size.rows ? whole : layOut(shortStatusLines(state), code, size);
}

/** What runs as it should in one line, and nothing between the lines. */
function shortStatusLines(state: ScreenState): readonly string[] {
  const running = state.services.filter(({ state: is }) => is === 'running').map(({ name }) => name);
  const services = state.services.filter(({ state: is }) => is !== 'running');
  const lines = statusLines({ ...state, services }).filter((line) => line !== '');
  const heading = lines.indexOf('Services');
  const before = lines.slice(0, heading);
  // With none left to name, the line after the heading says that none run.
  const after = lines.slice(heading + (services.length === 0 && running.length > 0 ? 2 : 1));
  const ok = running.length === 0 ? 'Services' : `Services ok: ${running.join(' ')}`;
  return [...before, ok, ...after];
}

/** The code beside the text where the columns are enough for both, below it otherwise. */
export function layOut(
  text: readonly string[],
  code: readonly string[],
  { columns }: { readonly columns: number },
): readonly string[] {
  const codeWidth = Math.max(0, ...code.map((line) => line.length));
  const coloured = code.map((line) => `${codeColours}${line}${plainColours}`);
  if (codeWidth === 0) return text;
  const textWidth = columns - codeWidth - 3;
  if (textWidth < minTextWidth) return [...text, ...coloured];
  const wrapped = text.flatMap((line) => wrap(line, textWidth));
  const height = Math.max(wrapped.length, code.length);
  return Array.from({ length: height }, (_, index) => {
    const left = (wrapped[index] ?? '').padEnd(textWidth);
    return ` ${left} ${coloured[index] ?? ''}`.trimEnd();
  });
}

/** Breaks at spaces where there are any in the last half of the line. */
function wrap(line: string, width: number): readonly string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > width) {
    const space = rest.lastIndexOf(' ', width);
    const end = space > width / 2 ? space : width;
    lines.push(rest.slice(0, end));
    rest = `  ${rest.slice(end).trimStart()}`;
  }
  return [...lines, rest];
}
