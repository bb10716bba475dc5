/**
 * The error classes a caller may want to tell apart. Everything else is a plain Error (a failure), a
 * TypeError or a RangeError (a programmer's mistake). Messages are sentence case, without a full stop,
 * with the offending value in them.
 */

/** The configuration is wrong at `path`; `fix` says how to mend it. */
export class ConfigError extends Error {
  override name = 'ConfigError';
  readonly code = 'config';
  readonly path: string;
  readonly fix: string;
  constructor(path: string, message: string, fix: string, options?: ErrorOptions) {
    super(message, options);
    this.path = path;
    this.fix = fix;
  }
}

/** Bytes from outside break the format or protocol named in the message. The peer's fault, never ours. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
  readonly code = 'protocol';
}

/** A digest or signature does not match. Never retried, never ignored. */
export class IntegrityError extends Error {
  override name = 'IntegrityError';
  readonly code = 'integrity';
  readonly subject: string;
  readonly expected: string;
  readonly found: string;
  constructor(
    problem: { subject: string; expected: string; found: string; message?: string },
    options?: ErrorOptions,
  ) {
    super(
      problem.message ??
        `${problem.subject} does not match: expected ${problem.expected}, found ${problem.found}`,
      options,
    );
    this.subject = problem.subject;
    this.expected = problem.expected;
    this.found = problem.found;
  }
}

/** The text of anything thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The `code` of a Node system error (ENOENT, ECONNREFUSED …), or undefined. */
export function systemCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}
