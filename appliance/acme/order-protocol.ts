/**
 * What the keeper and the short-lived program that speaks ACME say to one another, over Node's channel
 * between a process and its child. The program holds no state: it is told everything and tells everything.
 */
import * as v from 'valibot';

const challengeType = v.picklist(['http-01', 'tls-alpn-01', 'dns-01']);
const shortText = v.pipe(v.string(), v.maxLength(4000));
const pem = v.pipe(v.string(), v.maxLength(256 * 1024));

const orderRequestSchema = v.object({
  kind: v.literal('order'),
  directoryUrl: v.string(),
  accountKeyPem: pem,
  /** Known from an earlier order; without it the account is made, or found by its key. */
  accountUrl: v.optional(v.string()),
  /** A mail address, or empty; `tellContact` when the authority knows another. */
  contact: v.string(),
  tellContact: v.boolean(),
  names: v.array(
    v.object({
      identifier: v.object({ type: v.picklist(['dns', 'ip']), value: v.string() }),
      /** Rather no certificate than one without it. */
      required: v.boolean(),
      /** Ways to prove it, to be tried in this order. */
      challenges: v.array(challengeType),
    }),
  ),
  /** Empty: none. */
  profile: v.string(),
  /** False: an authority that does not offer the profile is asked without it. */
  profileRequired: v.boolean(),
  certificateKeyPem: pem,
  /** The certificate this one takes the place of (RFC 9773 §5). */
  replaces: v.optional(v.string()),
});
export type OrderRequest = v.InferOutput<typeof orderRequestSchema>;

const pendingChallengeSchema = v.object({
  type: challengeType,
  identifier: v.string(),
  token: v.string(),
  keyAuthorization: v.string(),
});

const failureSchema = v.object({
  /**
   * `problem`: the authority refuses. `unreachable`: no answer, nothing was tried. `here`: what this device
   * has to do for a proof failed. `unusable`: this authority cannot be used as configured.
   */
  kind: v.picklist(['problem', 'unreachable', 'here', 'unusable']),
  /** What comes after `urn:ietf:params:acme:error:`, or the code of the system; empty when there is none. */
  code: v.pipe(v.string(), v.maxLength(100)),
  detail: shortText,
  /** The name or address in question. */
  identifier: v.optional(shortText),
  challenge: v.optional(challengeType),
  /** Not before; milliseconds since 1970. */
  retryAfterMs: v.optional(v.number()),
});
/** Why something could not be had. */
export type OrderFailure = v.InferOutput<typeof failureSchema>;

const issuedSchema = v.object({
  kind: v.literal('issued'),
  chainPem: pem,
  /** How each name in it was proven; names proven earlier have none. */
  proven: v.record(v.string(), challengeType),
  /** Names that had to be left out, and why. */
  leftOut: v.array(failureSchema),
});
const failedSchema = v.object({
  kind: v.literal('failed'),
  failure: failureSchema,
  /** Everything that was tried, for the record. */
  attempts: v.array(failureSchema),
});

const fromProgramSchema = v.variant('kind', [
  v.object({ kind: v.literal('account'), url: shortText }),
  v.object({ kind: v.literal('present'), id: v.number(), challenge: pendingChallengeSchema }),
  v.object({ kind: v.literal('remove'), id: v.number(), challenge: pendingChallengeSchema }),
  issuedSchema,
  failedSchema,
]);
export type FromProgram = v.InferOutput<typeof fromProgramSchema>;
export type OrderOutcome = v.InferOutput<typeof issuedSchema> | v.InferOutput<typeof failedSchema>;

const toProgramSchema = v.variant('kind', [
  orderRequestSchema,
  /** Answers `present` and `remove`; `error` when it could not be done. */
  v.object({ kind: v.literal('done'), id: v.number(), error: v.optional(v.string()) }),
]);
export type ToProgram = v.InferOutput<typeof toProgramSchema>;

/** @throws ValiError when it is no message of the program */
export function readFromProgram(message: unknown): FromProgram {
  return v.parse(fromProgramSchema, message);
}

/** @throws ValiError when it is no message of the keeper */
export function readToProgram(message: unknown): ToProgram {
  return v.parse(toProgramSchema, message);
}
