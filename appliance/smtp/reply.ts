/** SMTP and LMTP replies (RFC 5321 §4.2, RFC 2034): read from a peer, checked, and put in one line again. */
import { ProtocolError } from '../base/errors.ts';
import { createLineReader } from '../base/line-reader.ts';

export interface SmtpReply {
  /** 200–599. */
  readonly code: number;
  /** Without code and separator, printable ASCII. */
  readonly lines: readonly string[];
}

/** RFC 5321 §4.5.3.1.5 allows 512; some servers say more. */
const maxLineBytes = 2048;
/** An EHLO reply has a dozen. */
const maxLines = 100;
/** What one line of a reply that goes on to Postfix may have: its own limit is 2048, log lines are shorter. */
const maxTextChars = 500;

const replyLine = /^([2-5]\d\d)(?:([ -])(.*))?$/;

export interface ReplyDecoder {
  /** The replies that `chunk` completes. @throws ProtocolError */
  push(chunk: Uint8Array): SmtpReply[];
  /** Bytes or lines of a reply that has no end yet. */
  readonly isPending: boolean;
}

export function createReplyDecoder(): ReplyDecoder {
  const reader = createLineReader(maxLineBytes);
  let code = 0;
  let lines: string[] = [];
  return {
    get isPending() {
      return reader.pendingBytes > 0 || lines.length > 0;
    },
    push(chunk) {
      const replies: SmtpReply[] = [];
      for (const bytes of reader.push(chunk)) {
        const [, digits, separator, text = ''] =
          replyLine.exec(bytes.toString('latin1').replace(/\r$/, '')) ?? [];
        if (digits === undefined) throw new ProtocolError('An SMTP reply does not begin with its code');
        if (lines.length > 0 && code !== Number(digits)) {
          throw new ProtocolError('An SMTP reply changes its code from line to line');
        }
        if (lines.length >= maxLines) throw new ProtocolError(`An SMTP reply has over ${maxLines} lines`);
        code = Number(digits);
        lines.push(printable(text));
        if (separator === '-') continue;
        replies.push({ code, lines });
        lines = [];
      }
      return replies;
    },
  };
}

/**
 * A reply that came as a text of its own (HTTP body). Null for anything that is none: an error page, an
 * empty body, a reply that is neither yes nor no.
 */
export function parseReplyText(text: string): SmtpReply | null {
  const lines = text.trim().split(/\r?\n/);
  if (lines.length > maxLines) return null;
  const parts = lines.map((line) => replyLine.exec(line.trimEnd()));
  const code = Number(parts[0]?.[1] ?? 0);
  if (code < 200 || (code >= 300 && code < 400)) return null;
  if (parts.some((part) => part?.[1] !== String(code))) return null;
  return { code, lines: parts.map((part) => printable(part?.[3] ?? '')) };
}

/** The reply in one line, without its end: `550 5.1.1 No such user`. Bounded, printable ASCII. */
export function formatReply({ code, lines }: SmtpReply): string {
  const enhanced = enhancedCode(lines[0] ?? '');
  // RFC 2034 §4: each line repeats the enhanced code.
  const rest = lines.map((line, index) =>
    index > 0 && enhanced !== undefined && line.startsWith(`${enhanced} `)
      ? line.slice(enhanced.length + 1)
      : line,
  );
  const text = rest
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join(' ');
  return `${code} ${text === '' ? 'No reason given' : text.slice(0, maxTextChars)}`;
}

/** `5.1.1` of `5.1.1 No such user` (RFC 3463). */
export function enhancedCode(text: string): string | undefined {
  return /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/.exec(text)?.[1];
}

/** A reply of our own from one line. @throws RangeError when it does not begin with a code */
export function replyOf(line: string): SmtpReply {
  const reply = parseReplyText(line);
  if (reply === null) throw new RangeError(`${JSON.stringify(line)} is not an SMTP reply`);
  return reply;
}

export const isAccepted = ({ code }: SmtpReply): boolean => code >= 200 && code < 300;

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}
