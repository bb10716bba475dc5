/** Carries out a push: step by step, each visible to the world before the next one builds on it. */
import type { LookupContext, ZoneDelegation } from './delegation.ts';
import type { Change, PushPlan, PushStep } from './plan.ts';
import type { DnsProvider, Zone } from './provider.ts';
import { type Answer, type Question, questionKey, viewServers } from './survey.ts';

export interface PushOptions {
  readonly signal: AbortSignal;
  /** Called before a step is done. */
  readonly onStep?: (step: PushStep) => void;
  /** Called when a step is done; the next one starts when it resolves. */
  readonly afterStep?: (step: PushStep, last: boolean) => Promise<void>;
}

/**
 * @throws ProviderError; what was done until then stays, and planning again yields the rest
 */
export async function applyPlan(
  provider: DnsProvider,
  zone: Zone,
  plan: PushPlan,
  options: PushOptions,
): Promise<void> {
  for (const [index, step] of plan.steps.entries()) {
    options.onStep?.(step);
    const removals = step.changes.filter(({ after }) => after === null);
    const sets = step.changes.flatMap(({ after }) => after ?? []);
    if (removals.length > 0) await provider.delete(zone, removals, { signal: options.signal });
    if (sets.length > 0) await provider.upsert(zone, sets, { signal: options.signal });
    await options.afterStep?.(step, index === plan.steps.length - 1);
  }
}

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number;
  /** `seen` of `total` record sets are right on every server that answers. */
  readonly onProgress?: (seen: number, total: number) => void;
}

export interface WaitResult {
  readonly visible: boolean;
  /** What is not yet right, and where: `chat.example.org MX on ns2.example.net (192.0.2.2)`. */
  readonly waitingFor: readonly string[];
}

const firstPauseMs = 1000;
const maxPauseMs = 10_000;

/**
 * Waits until every authoritative server that answers has the changes. Servers that never answer are left
 * out: `dns check` reports them.
 */
export async function waitUntilVisible(
  delegation: ZoneDelegation,
  changes: readonly Change[],
  context: LookupContext,
  options: WaitOptions,
): Promise<WaitResult> {
  return waitUntilAnswered(delegation, changes, isVisible, context, options);
}

/** waitUntilVisible for answers of any kind: `isRight` says whether one server's is as it should be. */
export async function waitUntilAnswered<Q extends Question>(
  delegation: ZoneDelegation,
  questions: readonly Q[],
  isRight: (question: Q, answer: Answer) => boolean,
  context: LookupContext,
  options: WaitOptions,
): Promise<WaitResult> {
  const deadline = options.now() + options.timeoutMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 1.5, maxPauseMs)) {
    const views = await viewServers(delegation, questions, context);
    const waitingFor = questions.flatMap((question) => {
      const key = questionKey(question);
      return views.flatMap(({ answers, title }) => {
        const answer = answers.get(key);
        return answer === undefined || isRight(question, answer) ? [] : { key, title };
      });
    });
    const unseen = new Set(waitingFor.map(({ key }) => key));
    options.onProgress?.(questions.length - unseen.size, questions.length);
    const answered = views.some(({ answers }) => answers.size > 0);
    if (answered && waitingFor.length === 0) return { visible: true, waitingFor: [] };
    if (options.now() + pauseMs > deadline) {
      const texts = waitingFor.map(({ key, title }) => `${key} on ${title}`);
      return { visible: false, waitingFor: answered ? texts : ['any name server to answer'] };
    }
    await options.sleep(pauseMs, context.signal);
  }
}

function isVisible(change: Change, answer: Answer): boolean {
  // Behind a new CNAME an address question is answered with the target's addresses: only the CNAME's own
  // question says whether an old address is gone.
  if (change.after === null && answer.alias !== undefined) return true;
  const wanted = [...(change.after?.values ?? [])].sort().join('\n');
  return answer.values.join('\n') === wanted;
}
