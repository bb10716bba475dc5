/**
 * What the edge process tells the supervisor about itself, in a file that the supervisor reads when it is asked
 * how things are. The edge meets strangers, so nothing of it is believed beyond this form.
 */
import * as v from 'valibot';
import { ProtocolError } from '../base/errors.ts';

/** No status comes near it. */
export const maxEdgeStatusBytes = 16_384;

/** What a console can show: no control character, no escape sequence. */
const line = v.pipe(v.string(), v.maxLength(1000), v.regex(/^\P{C}*$/u));
const milliseconds = v.pipe(v.number(), v.safeInteger());

const certificateSchema = v.strictObject({
  /**
   * `self-signed`: the relay signs for itself and is meant to; `missing`: an authority is to vouch for it and does
   * not yet; `working`: a certificate is being ordered or put to use.
   */
  state: v.picklist(['self-signed', 'missing', 'working', 'valid', 'expired']),
  issuer: v.optional(line),
  names: v.pipe(v.array(line), v.maxLength(100)),
  /** Milliseconds since 1970. */
  notAfterMs: v.optional(milliseconds),
  /** When the next attempt or renewal is due. */
  nextActionMs: v.optional(milliseconds),
});

const edgeStatusSchema = v.strictObject({
  certificate: certificateSchema,
  problems: v.pipe(v.array(v.strictObject({ path: line, message: line, fix: line })), v.maxLength(20)),
});

export type CertificateReport = v.InferOutput<typeof certificateSchema>;
export type EdgeStatus = v.InferOutput<typeof edgeStatusSchema>;

/** Leaves out what the other side would not take, rather than be taken for nobody. */
export function encodeEdgeStatus({ certificate, problems }: EdgeStatus): string {
  const clean = (text: string) => text.replace(/\p{C}+/gu, ' ').slice(0, 1000);
  const { issuer, names, ...rest } = certificate;
  return `${JSON.stringify({
    certificate: {
      ...rest,
      ...(issuer === undefined ? {} : { issuer: clean(issuer) }),
      names: names.slice(0, 10).map((name) => clean(name).slice(0, 255)),
    },
    problems: problems.slice(0, 5).map(({ path, message, fix }) => ({
      path: clean(path),
      message: clean(message),
      fix: clean(fix),
    })),
  })}\n`;
}

/** @throws ProtocolError when the text is no status */
export function decodeEdgeStatus(text: string): EdgeStatus {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new ProtocolError('The status of the edge is not JSON', { cause: error });
  }
  const result = v.safeParse(edgeStatusSchema, document);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new ProtocolError(`No status of the edge: ${v.getDotPath(issue) ?? 'document'}: ${issue.message}`);
}

/** One line for the console: `Let's Encrypt, until 2027-02-19`. */
export function describeCertificate({ state, issuer, notAfterMs }: CertificateReport): string {
  const until = notAfterMs === undefined ? '' : `, until ${new Date(notAfterMs).toISOString().slice(0, 10)}`;
  switch (state) {
    case 'self-signed':
      return `its own${until}`;
    case 'missing':
      return 'its own, until an authority vouches for it';
    case 'working':
      return 'being ordered';
    case 'valid':
      return `${issuer ?? 'from an authority'}${until}`;
    case 'expired':
      return `expired${until.replace(', until', '')}`;
  }
}
