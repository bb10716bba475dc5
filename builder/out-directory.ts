/** The directory that images go to, made and tried before any long work. */
import { mkdir, mkdtemp, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, systemCode } from '../appliance/base/errors.ts';

/** The right to write is missing, or the disk is full: something that `fix` mends, not the command line. */
export class OutDirectoryError extends Error {
  override name = 'OutDirectoryError';
  readonly code: 'not-writable' | 'disk-full';
  readonly fix: string;
  constructor(code: OutDirectoryError['code'], message: string, fix: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.fix = fix;
  }
}

/**
 * Makes `directory` unless it is there, and makes sure that something can be put into it.
 * @throws ConfigError when a file is in the way; OutDirectoryError when it cannot be written
 */
export async function prepareOutDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true });
    // Asking for rights says less than using them: a full disk, a read-only one, a quota.
    await rmdir(await mkdtemp(join(directory, '.chatmail-build-')));
  } catch (error) {
    throw explained(error, directory);
  }
}

function explained(error: unknown, directory: string): unknown {
  switch (systemCode(error)) {
    case 'EEXIST':
    case 'ENOTDIR':
      return new ConfigError(
        '--out',
        `The image cannot go to ${directory}: a file is in the way`,
        'Name a directory with --out; the image gets its name from the domain and the target',
        { cause: error },
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new OutDirectoryError(
        'not-writable',
        `The image cannot go to ${directory}: ${systemCode(error) === 'EROFS' ? 'the disk is read-only' : 'you may not write there'}`,
        'Choose another directory with --out, or give yourself the right to write there',
        { cause: error },
      );
    case 'ENOSPC':
    case 'EDQUOT':
      return new OutDirectoryError(
        'disk-full',
        `The image cannot go to ${directory}: the disk is full`,
        'Free some space, or choose another disk with --out',
        { cause: error },
      );
    default:
      return error;
  }
}
