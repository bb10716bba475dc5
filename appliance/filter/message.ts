/**
 * A mail message as the filter sees it: an envelope, header fields with their exact bytes, a body. Text is
 * latin1, one character a byte, so that nothing is lost and lengths are byte counts.
 */

/** A header field; `value` starts right after the colon (mostly with a space) and keeps its folds as CRLF. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

export interface MailMessage {
  /** Envelope sender without angle brackets; empty for the null sender. */
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly headers: readonly HeaderField[];
  /** Everything after the empty line. */
  readonly body: Buffer;
}

/** A change to a message, with milter's counting: `changeHeader` takes the n-th field of that name, from 1. */
export type MailEdit =
  /** An empty value deletes the field. */
  | { readonly kind: 'changeHeader'; readonly index: number; readonly name: string; readonly value: string }
  /** Above every field; `index` is always 0. */
  | { readonly kind: 'insertHeader'; readonly index: 0; readonly name: string; readonly value: string }
  | { readonly kind: 'changeFrom'; readonly address: string; readonly args: string };

export type MailDecision =
  | { readonly kind: 'accept'; readonly edits: readonly MailEdit[] }
  /** A whole SMTP reply with its enhanced code. */
  | { readonly kind: 'reject'; readonly reply: string };

/** Values of every field called `name` (any case), top to bottom. */
export function valuesOf(headers: readonly HeaderField[], name: string): string[] {
  const wanted = name.toLowerCase();
  return headers.filter((field) => field.name.toLowerCase() === wanted).map((field) => field.value);
}

/** The unfolded, trimmed value of the one field called `name`; null when there is none or more than one. */
export function onlyValue(headers: readonly HeaderField[], name: string): string | null {
  const [value, ...others] = valuesOf(headers, name);
  return value === undefined || others.length > 0 ? null : unfold(value).trim();
}

/** RFC 5322 §2.2.3: unfolding takes out the CRLF before white space, and nothing else. */
export function unfold(value: string): string {
  return value.replace(/\r\n(?=[ \t])/g, '');
}

/** The header section as bytes, with the empty line that ends it. */
export function encodeHeaders(headers: readonly HeaderField[]): Buffer {
  return Buffer.from(`${headers.map(({ name, value }) => `${name}:${value}\r\n`).join('')}\r\n`, 'latin1');
}

/**
 * The header fields after the edits, as the MTA will have them.
 * @throws RangeError when an edit names a field that is not there
 */
export function applyEdits(headers: readonly HeaderField[], edits: readonly MailEdit[]): HeaderField[] {
  const result = [...headers];
  for (const edit of edits) {
    if (edit.kind === 'insertHeader') result.unshift({ name: edit.name, value: edit.value });
    if (edit.kind !== 'changeHeader') continue;
    const positions = [...result.keys()].filter(
      (at) => result[at]?.name.toLowerCase() === edit.name.toLowerCase(),
    );
    const at = positions[edit.index - 1];
    if (at === undefined) throw new RangeError(`There is no field ${edit.name} number ${edit.index}`);
    if (edit.value === '') result.splice(at, 1);
    else result[at] = { name: result[at]?.name ?? edit.name, value: edit.value };
  }
  return result;
}
