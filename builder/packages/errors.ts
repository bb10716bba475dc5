/** Failures of the package side that come with something the operator can do. */

export type PackageErrorCode =
  | 'network'
  | 'not-found'
  | 'disk-full'
  | 'not-writable'
  | 'offline'
  | 'unresolvable'
  | 'npm';

/** `fix` says what to do; the command line shows it below the message. */
export class PackageError extends Error {
  override name = 'PackageError';
  readonly code: PackageErrorCode;
  readonly fix: string;
  constructor(code: PackageErrorCode, message: string, fix: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.fix = fix;
  }
}
