/** The life of a process that the supervisor starts: ready, reload at SIGHUP, and an end in good order. */
import { messageOf } from './errors.ts';
import { createLog, type Log } from './log.ts';

export interface Daemon extends AsyncDisposable {
  /** Reads configuration and keys again; when they are not usable, all stays as it was. */
  reload(): Promise<void>;
}

/** A supervisor that waits longer than this kills. */
const shutdownTimeoutMs = 2000;

/** Starts a daemon that logs to stdout as `name`, and ends the process when SIGTERM or SIGINT asks for it. */
export async function runDaemon(name: string, start: (log: Log) => Promise<Daemon>): Promise<void> {
  const log = createLog(name, (line) => process.stdout.write(`${line}\n`));
  const daemon = await start(log);
  log.info('ready', { afterMs: Math.round(performance.now()) });
  process.on('SIGHUP', () => {
    daemon.reload().then(
      () => log.info('reloaded'),
      (error: unknown) => log.error('reload failed', { reason: messageOf(error) }),
    );
  });
  const stop = () => {
    setTimeout(() => process.exit(1), shutdownTimeoutMs).unref();
    daemon[Symbol.asyncDispose]().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error('stop failed', { reason: messageOf(error) });
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}
