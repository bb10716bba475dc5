/**
 * Structured log lines, one JSON object each, to stdout. The supervisor adds the time and keeps them.
 * No e-mail address and no message content at `info` or above: a relay forgets.
 */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** The same log under another service name. */
  child(service: string): Log;
}

const order: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** A log that hands each finished line (without newline) to `write`; lines below `minimum` are dropped. */
export function createLog(service: string, write: (line: string) => void, minimum: LogLevel = 'info'): Log {
  const emit = (level: LogLevel) => (event: string, fields?: LogFields) => {
    if (order.indexOf(level) < order.indexOf(minimum)) return;
    write(JSON.stringify({ level, service, event, ...fields }));
  };
  return {
    debug: emit('debug'),
    info: emit('info'),
    warn: emit('warn'),
    error: emit('error'),
    child: (name) => createLog(name, write, minimum),
  };
}

export const silentLog: Log = createLog('', () => {});
