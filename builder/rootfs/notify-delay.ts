/**
 * Shortens Dovecot's wait before it tells an idling client of new mail, a constant compiled into
 * libdovecot-storage: `#define NOTIFY_DELAY_MSECS 500` in src/lib-storage/mailbox-watch.c, used once, as
 * timeout_add_short(NOTIFY_DELAY_MSECS, …) at line 52. Source of a build of one's own would say 1 there, as
 * chatmail/relay's does; here the number is changed in Debian's file.
 *
 * It is more than speed. A connection that hibernates forgets a notification that is still waiting: with
 * 500 ms and hibernation after one second, mail that came in the second half of that second was never
 * announced (measured on 2.4.1; none of 73 was lost with 1 ms).
 */
import { IntegrityError } from '../../appliance/base/errors.ts';

const path = 'usr/lib/dovecot/libdovecot-storage.so.0.0.0';

/** Where the file lies in the root. */
export const notifyDelayLibrary = path;

export type NotifyDelayArchitecture = 'amd64' | 'arm64';

interface Site {
  /** Bytes around the number; null stands for any. */
  readonly pattern: readonly (number | null)[];
  /** The instruction part that holds the number, from the start of the pattern. */
  readonly offset: number;
  readonly replacement: readonly number[];
}

const any = (count: number): null[] => Array.from({ length: count }, () => null);

const sites: Readonly<Record<NotifyDelayArchitecture, Site>> = {
  amd64: {
    // mov edx, 52 · mov edi, 500 · lea rsi, [rip + …]
    pattern: [0xba, 0x34, 0, 0, 0, 0xbf, 0xf4, 0x01, 0, 0, 0x48, 0x8d, 0x35],
    offset: 6,
    replacement: [1, 0, 0, 0],
  },
  arm64: {
    // mov w2, #52 · four instructions that hold addresses · mov w0, #500
    pattern: [0x82, 0x06, 0x80, 0x52, ...any(16), 0x80, 0x3e, 0x80, 0x52],
    offset: 20,
    replacement: [0x20, 0x00, 0x80, 0x52],
  },
};

function matchesAt(bytes: Uint8Array, start: number, pattern: Site['pattern']): boolean {
  return pattern.every((byte, index) => byte === null || bytes[start + index] === byte);
}

/**
 * A copy of the library with a delay of 1 ms.
 * @throws IntegrityError unless there is exactly one place that looks like it: Debian has changed the file,
 *   and somebody must look
 */
export function shortenNotifyDelay(
  library: Uint8Array,
  architecture: NotifyDelayArchitecture,
): Uint8Array<ArrayBuffer> {
  const { pattern, offset, replacement } = sites[architecture];
  const first = pattern[0] ?? 0;
  const found: number[] = [];
  for (let at = library.indexOf(first); at !== -1; at = library.indexOf(first, at + 1)) {
    if (matchesAt(library, at, pattern)) found.push(at);
  }
  const [only] = found;
  if (only === undefined || found.length > 1) {
    throw new IntegrityError({
      subject: `The notification delay in /${path} (${architecture})`,
      expected: 'one place',
      found: `${found.length} places`,
    });
  }
  const patched = Uint8Array.from(library);
  patched.set(replacement, only + offset);
  return patched;
}
