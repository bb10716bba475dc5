/** Questions on a terminal: yes or no, a line, a secret that is not echoed. */
import type { CommandContext } from '../cli/command.ts';

type Terminal = Pick<CommandContext, 'stdin' | 'stderr' | 'signal'>;

/** True where a person can be asked. */
export function canAsk(context: Terminal): boolean {
  return context.stdin.isTTY === true && context.stderr.isTTY === true;
}

/** Only an explicit yes is one. */
export async function askYesNo(question: string, context: Terminal): Promise<boolean> {
  const answer = await askLine(`${question} [y/N] `, context);
  return /^y(es)?$/i.test(answer.trim());
}

/** @throws an AbortError on Ctrl-C */
export async function askLine(prompt: string, context: Terminal): Promise<string> {
  context.stderr.write(prompt);
  return readLine(context);
}

/** Reads a line from the terminal without showing it. */
export async function askSecret(prompt: string, context: Terminal): Promise<string> {
  const { stdin, stderr } = context;
  const raw =
    'setRawMode' in stdin && typeof stdin.setRawMode === 'function' ? stdin.setRawMode.bind(stdin) : null;
  stderr.write(prompt);
  raw?.(true);
  try {
    return await readLine(context);
  } finally {
    raw?.(false);
    stderr.write('\n');
  }
}

/** Longer than any answer or credential. */
const maxLineLength = 4096;

/** One line; what was typed ahead stays for the next question. */
async function readLine({ stdin, signal }: Terminal): Promise<string> {
  const interrupted = () => new DOMException('Interrupted', 'AbortError');
  if (signal.aborted) throw interrupted();
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let typed = '';
  const onData = (chunk: Buffer | string) => {
    const text = chunk.toString();
    for (let at = 0; at < text.length; at++) {
      const character = text.charAt(at);
      if (character === '\r' || character === '\n') {
        stdin.pause();
        const rest = text.slice(character === '\r' && text[at + 1] === '\n' ? at + 2 : at + 1);
        if (rest !== '') stdin.unshift(Buffer.from(rest));
        resolve(typed);
        return;
      }
      // In raw mode these two arrive as characters.
      if (character === '\u0003') reject(interrupted());
      else if (character === '\u007f' || character === '\b') typed = typed.slice(0, -1);
      else if (typed.length < maxLineLength) typed += character;
    }
  };
  const onEnd = () => resolve(typed);
  const onAbort = () => reject(interrupted());
  stdin.on('data', onData);
  stdin.once('end', onEnd);
  signal.addEventListener('abort', onAbort, { once: true });
  stdin.resume();
  try {
    return await promise;
  } finally {
    stdin.off('data', onData);
    stdin.off('end', onEnd);
    signal.removeEventListener('abort', onAbort);
    stdin.pause();
  }
}
