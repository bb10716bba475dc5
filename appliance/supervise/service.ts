/** What a service is: the rows of the table in services.ts. No behaviour. */

export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/** How the supervisor knows that a service does its work. */
export type ReadyCheck =
  /** A connection to the unix socket is accepted. */
  | { readonly kind: 'unix'; readonly path: string }
  /** A connection to the port on loopback is accepted. */
  | { readonly kind: 'tcp'; readonly port: number; readonly host?: string }
  /** The service has printed a line that matches. */
  | { readonly kind: 'log'; readonly pattern: RegExp }
  /** The process has lived so long. */
  | { readonly kind: 'alive'; readonly forMs: number }
  /** Anything else; false and a throw both mean: not yet. */
  | { readonly kind: 'custom'; readonly check: (signal: AbortSignal) => Promise<boolean> };

interface Program {
  /** Also the name of its log, its cgroup and its record: lower-case letters, digits and dashes. */
  readonly name: string;
  /** Absolute path. */
  readonly command: string;
  readonly args: readonly string[];
  /** Who it runs as; undefined: as the supervisor. Supplementary groups are always dropped. */
  readonly identity?: Identity;
  /** The whole environment but PATH. */
  readonly env?: Readonly<Record<string, string>>;
  /** True when its log names people: on the disk it does not. */
  readonly logNamesPeople?: boolean;
  /** Group that may reopen the service's output (/dev/stdout) for writing. */
  readonly logGid?: number;
}

export interface Service extends Program {
  /** Services that must be ready before this one starts. A later death of theirs changes nothing. */
  readonly needs: readonly string[];
  readonly ready: ReadyCheck;
  /** A service not ready after so long is stopped and counts as crashed. Default 60 s. */
  readonly readyTimeoutMs?: number;
  /** Asked once a minute while the service runs; the watchdog is fed only while it holds. */
  readonly health?: ReadyCheck;
  readonly stopSignal?: NodeJS.Signals;
  /** What is left of the service after so long is killed. Default 10 s. */
  readonly stopTimeoutMs?: number;
  /** Makes it read its configuration and certificates again; without one it is restarted. */
  readonly reloadSignal?: NodeJS.Signals;
  /** True when it holds the TLS certificate in memory. */
  readonly usesCertificate?: boolean;
  /** False where the machine does its work without it too: its troubles are shown and feed no watchdog. Default true. */
  readonly isVital?: boolean;
  /** -1000 (never) to 1000 (first) when memory runs out. Default 0. */
  readonly oomScoreAdjust?: number;
}

/** A program that is run to its end again and again. */
export interface Job extends Program {
  readonly firstAfterMs: number;
  readonly everyMs: number;
  readonly timeoutMs: number;
}
