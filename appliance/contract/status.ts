/** How things are on the device, in the words that console, control socket and their clients share. */

export type ServiceState = 'waiting' | 'starting' | 'running' | 'back-off' | 'stopping' | 'stopped';

export interface ServiceStatus {
  readonly name: string;
  readonly state: ServiceState;
  readonly pid?: number;
  /** Times it ended by itself in a row. */
  readonly failures: number;
  /** Why it is not running, in words for the console. */
  readonly reason?: string;
}

/** Something is wrong, and a person can mend it. */
export interface Problem {
  /** Where: `line 3`, `mail.quotaBytes`, `disk`. */
  readonly path: string;
  readonly message: string;
  readonly fix: string;
}
