/**
 * What the web server asks the relay about invite tokens (`accounts.tokens`): JSON over HTTP on
 * paths.accountsSocket. `POST /check` changes nothing, `POST /accounts` makes an account.
 */
import * as v from 'valibot';
import { ProtocolError } from '../base/errors.ts';

/** No request or answer comes near it. */
export const maxInviteTokenBodyBytes = 4096;

const requestSchema = v.strictObject({
  token: v.pipe(v.string(), v.maxLength(200)),
  /** Whom wrong tokens are counted for: an IPv4 address, or an IPv6 /64. */
  client: v.pipe(v.string(), v.maxLength(100)),
});

export type InviteTokenRequest = v.InferOutput<typeof requestSchema>;

/** Why there is no account. `closed`: the relay does not take tokens. `busy`: too many wrong ones of this client. */
export const inviteTokenRefusals = [
  'closed',
  'unknown',
  'expired',
  'used-up',
  'busy',
  'unavailable',
] as const;
export type InviteTokenRefusal = (typeof inviteTokenRefusals)[number];

const answerSchema = v.variant('kind', [
  v.strictObject({ kind: v.literal('valid') }),
  v.strictObject({ kind: v.literal('created'), localpart: v.string(), password: v.string() }),
  v.strictObject({ kind: v.literal('refused'), reason: v.picklist(inviteTokenRefusals) }),
]);

export type InviteTokenAnswer = v.InferOutput<typeof answerSchema>;
/** What `POST /check` answers. */
export type InviteTokenState = Extract<InviteTokenAnswer, { kind: 'valid' | 'refused' }>;
/** What `POST /accounts` answers. */
export type InviteTokenOutcome = Extract<InviteTokenAnswer, { kind: 'created' | 'refused' }>;

/** @throws ProtocolError when the text is no request */
export function decodeInviteTokenRequest(text: string): InviteTokenRequest {
  return decode(requestSchema, text);
}

/** @throws ProtocolError when the text is no answer */
export function decodeInviteTokenAnswer(text: string): InviteTokenAnswer {
  return decode(answerSchema, text);
}

function decode<S extends v.GenericSchema>(schema: S, text: string): v.InferOutput<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ProtocolError('The body is not JSON', { cause: error });
  }
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  // The value itself stays out: it is a token.
  throw new ProtocolError(`The body is not what was agreed: ${v.getDotPath(result.issues[0]) ?? 'body'}`);
}
