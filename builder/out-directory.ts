/** The directory that images go to, made and tried before any long work. */
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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

/** The least that a disk hands out: less would fit where a file has no room. */
const probeBytes = 4096;

/**
 * Makes `directory` unless it is there, and makes sure that something can be put into it.
 * @throws ConfigError when a file is in the way; OutDirectoryError when it cannot be written
 */
export async function prepareOutDirectory(directory: string): Promise<void> {
  await explainingWrites(directory, async () => {
    await makeDirectory(directory);
    // Asking for rights says less than using them: a full disk, a read-only one, a quota.
    const probe = await mkdtemp(join(directory, '.chatmail-build-'));
    try {
      await writeFile(join(probe, 'probe'), Buffer.alloc(probeBytes, 1), { flush: true });
    } finally {
      await rm(probe, { recursive: true, force: true });
    }
  });
}

/**
 * With its parents, one by one: of a parent that cannot be made, Node's recursive mkdir says that it does
 * not exist (seen on a read-only disk).
 */
async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' && dirname(directory) !== directory) {
      await makeDirectory(dirname(directory));
      await mkdir(directory);
    } else if (!(await isDirectory(directory))) throw error;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}

/** Runs `work`, which writes into `directory`, and has its complaints say what to do. */
export async function explainingWrites<T>(directory: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
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
