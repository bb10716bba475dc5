/**
 * The body of a message on its way through DATA (RFC 5321 §4.5.2): a dot before every line that begins with
 * one, and off again. Lines end in CRLF and in nothing else: a lone CR or LF is what smuggling is made of.
 */
import { ProtocolError } from '../base/errors.ts';

const cr = 0x0d;
const lf = 0x0a;
const dot = 0x2e;
const dotBytes = Buffer.from('.');

/** True at the byte after CRLF, or at the very first. */
export interface DotStuffer {
  /** The bytes to send for `chunk`; parts are views on it. @throws ProtocolError for a bare CR or LF */
  push(chunk: Uint8Array): Uint8Array[];
  /** What ends the body: its last line is completed first. @throws ProtocolError when a CR is left over */
  end(): Uint8Array;
}

export function createDotStuffer(): DotStuffer {
  let previous = lf;
  return {
    push(chunk) {
      const parts: Uint8Array[] = [];
      let sent = 0;
      if (chunk.length === 0) return parts;
      if (previous === cr && chunk[0] !== lf) throw bareEnding();
      if (previous === lf && chunk[0] === dot) parts.push(dotBytes);
      // Native searches: a message is mostly neither CR nor LF.
      for (let at = chunk.indexOf(lf); at >= 0; at = chunk.indexOf(lf, at + 1)) {
        if ((at === 0 ? previous : chunk[at - 1]) !== cr) throw bareEnding();
        if (chunk[at + 1] === dot) {
          parts.push(chunk.subarray(sent, at + 1), dotBytes);
          sent = at + 1;
        }
      }
      for (let at = chunk.indexOf(cr); at >= 0; at = chunk.indexOf(cr, at + 1)) {
        if (at + 1 < chunk.length && chunk[at + 1] !== lf) throw bareEnding();
      }
      if (sent < chunk.length) parts.push(chunk.subarray(sent));
      previous = chunk[chunk.length - 1] ?? previous;
      return parts;
    },
    end() {
      if (previous === cr) throw bareEnding();
      return Buffer.from(previous === lf ? '.\r\n' : '\r\n.\r\n');
    },
  };
}

function bareEnding(): ProtocolError {
  return new ProtocolError('A message has a bare CR or LF');
}

export interface DotUnstuffer {
  /**
   * The bytes of the body in `chunk`. Once the end was seen `rest` is what follows it, and nothing may be
   * pushed any more.
   */
  push(chunk: Uint8Array): { readonly parts: Uint8Array[]; readonly rest?: Uint8Array };
}

/**
 * Reads the body up to CRLF `.` CRLF. Dots are only taken off after CRLF, and only that ends the body, so a
 * bare LF stays what it is.
 */
export function createDotUnstuffer(): DotUnstuffer {
  // How much of `\r\n.\r\n` stands behind us; the end of a body may come at its very beginning.
  let matched = 2;
  const sequence = [cr, lf, dot, cr, lf];
  return {
    push(chunk) {
      const parts: Uint8Array[] = [];
      let start = 0;
      const keep = (end: number) => {
        if (end > start) parts.push(chunk.subarray(start, end));
      };
      for (let at = 0; at < chunk.length; at++) {
        if (matched === 0) {
          at = chunk.indexOf(cr, at);
          if (at < 0) break;
        }
        const byte = chunk[at];
        if (byte === sequence[matched]) {
          matched++;
          if (matched === 3) {
            // The dot: stuffed, or the end.
            keep(at);
            start = at + 1;
          } else if (matched === 4) {
            keep(at);
            start = at + 1;
          } else if (matched === 5) {
            return { parts, rest: chunk.subarray(at + 1) };
          }
          continue;
        }
        if (matched === 4) {
          // `.\r` that did not become an end: the dot was stuffing, the CR is the message's.
          parts.push(Uint8Array.of(cr));
          start = at;
        }
        matched = byte === cr ? 1 : 0;
        // The CR held back just now may itself be followed by a CR.
      }
      keep(chunk.length);
      return { parts };
    },
  };
}
