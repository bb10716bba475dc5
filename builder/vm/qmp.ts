/**
 * A client of QEMU's machine protocol: JSON lines, a greeting, then commands with ids and events between
 * the replies (QEMU docs/interop/qmp-spec.rst).
 */
import type { Duplex } from 'node:stream';
import * as v from 'valibot';
import { ProtocolError } from '../../appliance/base/errors.ts';

/** The greeting and all we ever ask for are below 1 kB; events of block jobs a few kB. */
const maxLineBytes = 1024 * 1024;

const messageSchema = v.looseObject({
  QMP: v.optional(v.looseObject({})),
  event: v.optional(v.string()),
  data: v.optional(v.looseObject({})),
  id: v.optional(v.number()),
  return: v.optional(v.unknown()),
  error: v.optional(v.looseObject({ class: v.string(), desc: v.string() })),
});
type Message = v.InferOutput<typeof messageSchema>;

export interface QmpEvent {
  /** POWERDOWN, SHUTDOWN, RESET, GUEST_PANICKED, WATCHDOG … */
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpClient {
  /**
   * Runs one command.
   * @throws ProtocolError with QEMU's own words when it refuses, or when it has gone
   */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>;
  close(): void;
}

/**
 * Greets QEMU on `stream` and negotiates.
 * @throws ProtocolError when what is at the other end does not speak QMP
 */
export async function connectQmp(
  stream: Duplex,
  options: { readonly onEvent: (event: QmpEvent) => void; readonly signal: AbortSignal },
): Promise<QmpClient> {
  const pending = new Map<number, { resolve: (value: unknown) => void; reject: (reason: Error) => void }>();
  const greeting = Promise.withResolvers<void>();
  let gone: Error | undefined;
  let lastId = 0;

  const fail = (error: Error) => {
    gone ??= error;
    greeting.reject(gone);
    for (const { reject } of pending.values()) reject(gone);
    pending.clear();
    stream.destroy();
  };

  const receive = (message: Message) => {
    if (message.QMP !== undefined) greeting.resolve();
    else if (message.event !== undefined) options.onEvent({ name: message.event, data: message.data ?? {} });
    else if (message.id !== undefined) {
      const waiter = pending.get(message.id);
      pending.delete(message.id);
      if (message.error === undefined) waiter?.resolve(message.return);
      else waiter?.reject(new ProtocolError(`QEMU refuses: ${message.error.desc}`));
    }
  };

  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxLineBytes) return fail(new ProtocolError('QEMU sent an endless line'));
    for (const line of lines) {
      const message = parseMessage(line);
      if (message === undefined) return fail(new ProtocolError(`Not QMP: ${line.slice(0, 80)}`));
      receive(message);
    }
  });
  stream.on('error', (error) => fail(new ProtocolError(`QEMU is gone: ${error.message}`, { cause: error })));
  for (const event of ['end', 'close']) stream.on(event, () => fail(new ProtocolError('QEMU is gone')));
  options.signal.addEventListener('abort', () => fail(new ProtocolError('QEMU is no longer listened to')), {
    once: true,
  });

  const execute: QmpClient['execute'] = (command, args) => {
    if (gone !== undefined) return Promise.reject(gone);
    const id = ++lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    pending.set(id, { resolve, reject });
    stream.write(`${JSON.stringify({ execute: command, ...(args && { arguments: args }), id })}\n`);
    return promise;
  };

  await greeting.promise;
  await execute('qmp_capabilities');
  return { execute, close: () => stream.destroy() };
}

function parseMessage(line: string): Message | undefined {
  try {
    const result = v.safeParse(messageSchema, JSON.parse(line));
    const known = ['QMP', 'event', 'return', 'error'];
    return result.success && known.some((key) => key in result.output) ? result.output : undefined;
  } catch {
    return undefined;
  }
}
