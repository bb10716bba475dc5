/** Questions on a terminal: yes or no, a line, a secret that is not echoed. */
import { createInterface } from 'node:readline/promises';
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

export async function askLine(prompt: string, context: Terminal): Promise<string> {
  const lines = createInterface({ input: context.stdin, output: context.stderr, terminal: false });
  try {
    return await lines.question(prompt, { signal: context.signal });
  } finally {
    lines.close();
  }
}

/** No credential is longer. */
const maxSecretLength = 4096;

/** Reads a line from the terminal without showing it. */
export async function askSecret(prompt: string, context: Terminal): Promise<string> {
  const { stdin, stderr, signal } = context;
  const raw =
    'setRawMode' in stdin && typeof stdin.setRawMode === 'function' ? stdin.setRawMode.bind(stdin) : null;
  stderr.write(prompt);
  raw?.(true);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let typed = '';
  const onData = (chunk: Buffer | string) => {
    for (const character of chunk.toString()) {
      if (character === '\r' || character === '\n') resolve(typed);
      else if (character === '\u0003') reject(new DOMException('Interrupted', 'AbortError'));
      else if (character === '\u007f' || character === '\b') typed = typed.slice(0, -1);
      else if (typed.length < maxSecretLength) typed += character;
    }
  };
  const onEnd = () => resolve(typed);
  const onAbort = () => reject(new DOMException('Interrupted', 'AbortError'));
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
    raw?.(false);
    stdin.pause();
    stderr.write('\n');
  }
}
