/**
 * The pipe a service writes its output to. A FIFO that the service itself holds open for reading and
 * writing: when the supervisor dies there is still a reader, so nobody gets SIGPIPE, and what is written
 * meanwhile (up to 64 KiB) waits for the next supervisor. fifo(7): O_RDWR works on Linux.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, closeSync, constants, existsSync, openSync, statSync } from 'node:fs';
import { Socket } from 'node:net';
import { LineSplitter } from './line-splitter.ts';

const busybox = '/usr/bin/busybox';

/** Makes FIFOs (Node cannot); those that are there stay. */
export function makeFifos(paths: readonly string[]): void {
  const missing = paths.filter((path) => !existsSync(path) || !statSync(path).isFIFO());
  if (missing.length === 0) return;
  const [file, args] = existsSync(busybox) ? [busybox, ['mkfifo']] : ['mkfifo', []];
  execFileSync(file, [...args, '-m', '600', ...missing]);
}

/** Lets the service's group reopen its own /dev/stdout, as some daemons do. */
export function shareFifo(path: string, gid: number): void {
  chownSync(path, process.getuid?.() ?? 0, gid);
  chmodSync(path, 0o620);
}

/** A descriptor for the child's stdout and stderr. To be closed after the spawn. */
export function openFifoForService(path: string): number {
  return openSync(path, constants.O_RDWR);
}

export function closeFifo(fd: number): void {
  closeSync(fd);
}

/** Reads lines from the FIFO until it is disposed. */
export function readFifo(path: string, onLine: (line: string) => void): Disposable {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: true, writable: false });
  const splitter = new LineSplitter();
  socket.on('data', (chunk: Buffer) => {
    for (const line of splitter.push(chunk)) onLine(line);
  });
  // Nothing can go wrong with a pipe that we hold open ourselves; a service's output is not worth dying for.
  socket.on('error', () => {});
  return { [Symbol.dispose]: () => void socket.destroy() };
}
