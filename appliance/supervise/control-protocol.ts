/**
 * What may be asked of the supervisor over its unix sockets: one JSON object a line, one reply line each.
 *
 *     {"request":"status"}                                    {"ok":true,"result":{…}}
 *     {"request":"logs","service":"postfix","lines":50}       {"ok":true,"result":["…"]}
 *     {"request":"restart","service":"postfix"}               {"ok":true,"result":null}
 *     {"request":"reload-certificates"}
 *     {"request":"reboot"}   {"request":"poweroff"}
 *                                                             {"ok":false,"error":"…"}
 */
import * as v from 'valibot';
import { ProtocolError } from '../base/errors.ts';

/** No request comes near it. */
export const maxRequestBytes = 4096;
/** Replies hold at most the lines kept of one service (32 KiB), escaped. */
export const maxReplyBytes = 256 * 1024;

const serviceName = v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,31}$/, 'is no service name'));

const requestSchema = v.variant('request', [
  v.strictObject({ request: v.literal('status') }),
  v.strictObject({
    request: v.literal('logs'),
    service: serviceName,
    lines: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1000)), 100),
  }),
  v.strictObject({ request: v.literal('restart'), service: serviceName }),
  v.strictObject({ request: v.literal('reload-certificates') }),
  v.strictObject({ request: v.literal('reboot') }),
  v.strictObject({ request: v.literal('poweroff') }),
]);

export type ControlRequest = v.InferOutput<typeof requestSchema>;
export type ControlRequestKind = ControlRequest['request'];

const replySchema = v.variant('ok', [
  v.object({ ok: v.literal(true), result: v.unknown() }),
  v.object({ ok: v.literal(false), error: v.string() }),
]);

export type ControlReply = v.InferOutput<typeof replySchema>;

/** @throws ProtocolError when the line is no request */
export function decodeRequest(line: string): ControlRequest {
  const result = v.safeParse(requestSchema, parseJson(line));
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new ProtocolError(`No such request: ${v.getDotPath(issue) ?? 'line'}: ${issue.message}`);
}

/** @throws ProtocolError when the line is no reply */
export function decodeReply(line: string): ControlReply {
  const result = v.safeParse(replySchema, parseJson(line));
  if (result.success) return result.output;
  throw new ProtocolError(`No reply: ${line.slice(0, 100)}`);
}

export function encodeLine(message: ControlRequest | ControlReply): string {
  return `${JSON.stringify(message)}\n`;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new ProtocolError('The line is not JSON', { cause: error });
  }
}
