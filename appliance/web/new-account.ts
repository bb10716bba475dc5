/**
 * `/new`: where clients that have scanned `dcaccount:https://…/new` ask for an account, and where people with an
 * invite token go. As chatmail/relay's newemail.py: POST answers `{"email","password"}` and makes nothing, since
 * the first sign-in does; `{"reason"}` says why not. With tokens the relay makes the account at once.
 *
 * A GET never makes one: messengers fetch links to show a preview, and would use the token up.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { clientKey } from '../base/client-address.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf, ProtocolError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { RateLimiter } from '../base/rate-limit.ts';
import { readBody } from '../base/read-body.ts';
import {
  accountUri,
  clientMakesAccount,
  type InviteAccount,
  inviteAddress,
  inviteLengths,
  makeInviteAccount,
  tokenInviteUri,
  urlHost,
} from '../contract/invite.ts';
import type { InviteTokenRefusal } from '../contract/invite-tokens.ts';
import type { InviteTokenClient } from './invite-token-client.ts';
import type { Pages, Visit } from './pages.ts';
import { type Reply, types } from './reply.ts';
import { type Section, texts } from './texts.ts';

/** A token. */
const maxFormBytes = 1024;

/** Of one client; many phones share the address of their provider. */
const requestsPerMinute = 60;
const requestBurst = 20;
const maxClients = 10_000;

const retryAfterSec = 60;

export interface NewAccountOptions {
  readonly pages: Pages;
  readonly inviteTokens: InviteTokenClient;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly log: Log;
}

export type NewAccountHandler = (
  request: IncomingMessage,
  visit: Visit,
  token: string | null,
  signal: AbortSignal,
) => Promise<Reply>;

/** A new account's name and password, as the relay's rules want them. */
export function inventAccount({ config }: Visit): InviteAccount {
  const { localpartLength, passwordLength } = inviteLengths(config.accounts);
  return makeInviteAccount(randomBytes(localpartLength + passwordLength), localpartLength, passwordLength);
}

export function createNewAccountHandler(options: NewAccountOptions): NewAccountHandler {
  const { pages, inviteTokens, clock, log } = options;
  const limiter = new RateLimiter({
    perMinute: requestsPerMinute,
    burst: requestBurst,
    clock,
    maxKeys: maxClients,
  });

  return async (request, visit, queryToken, signal) => {
    const client = clientKey(request.socket.remoteAddress ?? '');
    const wantsJson = request.method === 'POST' && !isForm(request);
    const refuse = (reason: InviteTokenRefusal | 'missing'): Reply => {
      const { status, text } = refusal(visit, reason);
      const headers: Record<string, string> =
        status === 503 || status === 429 ? { 'retry-after': `${retryAfterSec}` } : {};
      if (wantsJson) return jsonReply(status, { reason: sentence(text) }, headers);
      return pageReply(pages, status, pages.problem(visit, text), headers);
    };

    if (limiter.take(client) > 0) return refuse('busy');
    const { config } = visit;
    const { create } = config.accounts;
    const form = isForm(request) && request.method === 'POST' ? await readForm(request) : undefined;
    if (create === 'closed') return refuse('closed');
    if (create === 'open') {
      if (request.method !== 'POST' && clientMakesAccount(config.domain, visit.isVouchedFor)) {
        const location = `dcaccount:https://${urlHost(config.domain)}/new`;
        return { status: 301, type: types.text, body: `${location}\n`, headers: { location } };
      }
      return jsonReply(200, credentials(visit, inventAccount(visit)));
    }
    const token = form?.get('token') ?? queryToken ?? '';
    if (token === '') return refuse('missing');
    try {
      if (request.method !== 'POST') {
        const state = await inviteTokens.check({ token, client }, signal);
        if (state.kind === 'refused') return refuse(state.reason);
        if (clientMakesAccount(config.domain, visit.isVouchedFor)) {
          const uri = tokenInviteUri(config.domain, token);
          return pageReply(pages, 200, pages.invitation(visit, { uri }));
        }
        // Clients cannot ask for an account, so the page does; and an account is not sent in the clear.
        if ('encrypted' in request.socket) return pageReply(pages, 200, pages.invitation(visit, { token }));
        const location = `https://${urlHost(config.domain)}/new?token=${encodeURIComponent(token)}`;
        return { status: 302, type: types.text, body: `${location}\n`, headers: { location } };
      }
      const outcome = await inviteTokens.redeem({ token, client }, signal);
      if (outcome.kind === 'refused') return refuse(outcome.reason);
      if (wantsJson) return jsonReply(200, credentials(visit, outcome));
      const account = { address: inviteAddress(config.domain, outcome), password: outcome.password };
      const uri = accountUri(config.domain, outcome, visit.isVouchedFor);
      return pageReply(
        pages,
        200,
        pages.invitation({ ...visit, pathname: '/', query: {} }, { uri, account }),
      );
    } catch (error) {
      if (signal.aborted) throw error;
      log.error('invite token not checked', { reason: messageOf(error) });
      return refuse('unavailable');
    }
  };
}

function credentials({ config, isVouchedFor }: Visit, account: InviteAccount): Record<string, string> {
  const found = { email: inviteAddress(config.domain, account), password: account.password };
  if (clientMakesAccount(config.domain, isVouchedFor)) return found;
  return { ...found, dclogin_url: accountUri(config.domain, account, isVouchedFor) };
}

function refusal(
  { language }: Visit,
  reason: InviteTokenRefusal | 'missing',
): { readonly status: number; readonly text: Section } {
  const { refusals, problems } = texts[language];
  switch (reason) {
    case 'closed':
      return { status: 403, text: refusals.closed };
    case 'missing':
      return { status: 403, text: refusals.missing };
    case 'unknown':
      return { status: 403, text: refusals.unknown };
    case 'expired':
      return { status: 410, text: refusals.expired };
    case 'used-up':
      return { status: 410, text: refusals.usedUp };
    case 'busy':
      return { status: 429, text: problems.busy };
    case 'unavailable':
      return { status: 503, text: problems.unavailable };
  }
}

/** What the app shows in a line. */
function sentence({ heading, paragraphs }: Section): string {
  return [`${heading}.`, ...paragraphs].join(' ');
}

function jsonReply(status: number, value: object, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status, type: types.json, body: `${JSON.stringify(value)}\n`, headers };
}

function pageReply(
  pages: Pages,
  status: number,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): Reply {
  const policy = { 'content-security-policy': pages.contentSecurityPolicy };
  return { status, type: types.html, body, headers: { ...policy, ...headers } };
}

function isForm({ headers }: IncomingMessage): boolean {
  return /^application\/x-www-form-urlencoded(?:;|$)/i.test(headers['content-type'] ?? '');
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const form = new URLSearchParams(await readBody(request, maxFormBytes));
  // Ours has a token; old clients send an empty one.
  if ([...form.keys()].some((name) => name !== 'token')) {
    throw new ProtocolError('The form has a field that is not ours');
  }
  return form;
}
