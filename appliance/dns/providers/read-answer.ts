/** Answers of providers are outside data: each is checked against what we expect before it is used. */
import * as v from 'valibot';
import type { HttpAnswer, HttpApi } from './http-api.ts';

/** @throws ProviderError 'unexpected' naming the first thing that differs */
export function readAnswer<S extends v.BaseSchema<unknown, unknown, v.BaseIssue<unknown>>>(
  api: Pick<HttpApi, 'error'>,
  schema: S,
  answer: Pick<HttpAnswer, 'json'>,
): v.InferOutput<S> {
  const result = v.safeParse(schema, answer.json);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue) ?? 'the whole answer';
  throw api.error('unexpected', `an answer we do not understand: ${path}: ${issue.message}`);
}
