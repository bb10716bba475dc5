/**
 * The web face of a relay: pages for people, settings for mail programs, accounts for chat apps. A router over
 * node:http; whose connections these are, and with which certificate, is the entry point's business. Nothing
 * here believes the Host header: names come from the configuration.
 */
import type { IncomingMessage, RequestListener } from 'node:http';
import type { Clock } from '../base/clock.ts';
import { messageOf, ProtocolError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { readBody } from '../base/read-body.ts';
import type { Config } from '../contract/config.ts';
import { mtaStsPolicy } from '../contract/dns-records.ts';
import { inviteUri } from '../contract/invite.ts';
import { autoconfigXml, autodiscoverAddress, autodiscoverXml } from './autoconfig.ts';
import { createHealthCheck } from './health.ts';
import type { InviteTokenClient } from './invite-token-client.ts';
import { chooseLanguage, isLanguage } from './language.ts';
import { createNewAccountHandler, inventAccount } from './new-account.ts';
import type { Pages, Visit } from './pages.ts';
import { type Reply, sendReply, types } from './reply.ts';
import { type Section, texts } from './texts.ts';

export interface WebOptions {
  /** Of loadPages(paths.templates). */
  readonly pages: Pages;
  /** Called for each request, since the configuration can be reloaded. */
  readonly config: () => Config;
  /** Whether the certificate in use comes from an authority. Called for each request. */
  readonly isVouchedFor: () => boolean;
  /** Asks the supervisor; a throw means no. */
  readonly isHealthy: (signal: AbortSignal) => Promise<boolean>;
  /** Of createInviteTokenClient(paths.accountsSocket). */
  readonly inviteTokens: InviteTokenClient;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly log: Log;
}

/** Outlook's requests are half of it. */
const maxAutodiscoverBytes = 4096;
/** Longer targets are nobody's who follows a link. */
const maxTargetLength = 2048;

interface Exchange {
  readonly request: IncomingMessage;
  readonly visit: Visit;
  readonly url: URL;
  readonly signal: AbortSignal;
}

interface Route {
  /** HEAD goes with GET. */
  readonly methods: readonly ('GET' | 'POST')[];
  readonly answer: (exchange: Exchange) => Reply | Promise<Reply>;
}

/** Answers every request it is given; never throws. The client's address is request.socket.remoteAddress. */
export function createWebHandler(options: WebOptions): RequestListener {
  const { pages, log } = options;
  const routes = createRoutes(options);

  const page = (body: string, { language }: Visit, more: Partial<Reply> & Pick<Reply, 'status'>): Reply => ({
    type: types.html,
    body,
    ...more,
    headers: {
      'content-security-policy': pages.contentSecurityPolicy,
      'content-language': language,
      vary: 'Accept-Language',
      ...more.headers,
    },
  });
  const problem = (visit: Visit, text: Section, status: number, headers: Record<string, string> = {}) =>
    page(pages.problem(visit, text), visit, { status, headers });

  async function answer(exchange: Exchange): Promise<Reply> {
    const { request, visit, url } = exchange;
    const elsewhere = redirectFor(request, visit, url);
    if (elsewhere !== undefined) return elsewhere;
    const route = routes.get(url.pathname);
    const { problems } = texts[visit.language];
    if (route === undefined) return problem(visit, problems.notFound, 404);
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    if (!route.methods.some((one) => one === method)) {
      const allow = route.methods.flatMap((one) => (one === 'GET' ? ['GET', 'HEAD'] : [one])).join(', ');
      return problem(visit, problems.method, 405, { allow });
    }
    try {
      const reply = await route.answer(exchange);
      return reply.type === types.html ? page(reply.body, visit, reply) : reply;
    } catch (error) {
      if (error instanceof ProtocolError) return problem(visit, problems.request, 400);
      if (!exchange.signal.aborted) log.error('request failed', { reason: messageOf(error) });
      return problem(visit, problems.failed, 500);
    }
  }

  return (request, response) => {
    const closed = new AbortController();
    response.once('close', () => closed.abort());
    const exchange = openExchange(request, options, closed.signal);
    if (exchange === undefined) {
      sendReply(request, response, {
        status: 400,
        type: types.text,
        body: 'Not a request for this server\n',
      });
      return;
    }
    answer(exchange)
      .then((reply) => sendReply(request, response, reply))
      .catch((error: unknown) => {
        log.error('answer failed', { reason: messageOf(error) });
        response.destroy();
      });
  };
}

/** Undefined for a target that is none: too long, `*`, or not to be parsed. */
function openExchange(
  request: IncomingMessage,
  { config, isVouchedFor }: WebOptions,
  signal: AbortSignal,
): Exchange | undefined {
  const target = request.url ?? '';
  // Proxies send the absolute form (RFC 9112 §3.2.2); in ours `//host/` is a path that nobody has.
  const isAbsolute = /^https?:\/\//i.test(target);
  if (target.length > maxTargetLength || !(isAbsolute || target.startsWith('/'))) return undefined;
  const text = isAbsolute ? target : `https://relay.invalid${target}`;
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const chosen = url.searchParams.get('lang');
  const token = url.searchParams.get('token');
  const visit: Visit = {
    config: config(),
    isVouchedFor: isVouchedFor(),
    language: chooseLanguage(chosen, request.headers['accept-language']),
    hasChosenLanguage: isLanguage(chosen),
    query: token === null ? {} : { token },
    pathname: url.pathname,
  };
  return { request, visit, url, signal };
}

const mtaStsPath = '/.well-known/mta-sts.txt';

/** `www` and `mta-sts` are names of this relay too; what belongs to the main name is found there. */
function redirectFor({ headers }: IncomingMessage, { config }: Visit, url: URL): Reply | undefined {
  if (config.domain.kind !== 'name') return undefined;
  const { name } = config.domain;
  const host = (headers.host ?? '').toLowerCase().replace(/\.?(?::\d{1,5})?$/, '');
  const isOther = host === `www.${name}` || (host === `mta-sts.${name}` && url.pathname !== mtaStsPath);
  if (!isOther) return undefined;
  const location = `https://${name}${url.pathname}${url.search}`;
  // 308 keeps the method, so that a POST stays one.
  return { status: 308, type: types.text, body: `${location}\n`, headers: { location, vary: 'Host' } };
}

function createRoutes(options: WebOptions): ReadonlyMap<string, Route> {
  const { pages, clock } = options;
  const isHealthy = createHealthCheck(options.isHealthy, clock);
  const newAccount = createNewAccountHandler(options);

  const routes = new Map<string, Route>();
  const add = (paths: readonly string[], methods: Route['methods'], handle: Route['answer']) => {
    for (const path of paths) routes.set(path, { methods, answer: handle });
  };
  const html = (body: string, cache: Reply['cache'] = 'revalidate'): Reply => ({
    status: 200,
    type: types.html,
    body,
    ...(cache === undefined ? {} : { cache }),
  });

  add(['/'], ['GET'], ({ visit }) => {
    const { config, isVouchedFor } = visit;
    if (config.accounts.create !== 'open') return html(pages.start(visit, undefined));
    const uri = inviteUri(config.domain, inventAccount(visit), isVouchedFor);
    // What gives an account away is another one each time.
    return html(pages.start(visit, uri), uri.startsWith('dclogin:') ? 'never' : 'revalidate');
  });
  add(['/info'], ['GET'], ({ visit }) => html(pages.info(visit)));
  add(['/privacy'], ['GET'], ({ visit }) => html(pages.privacy(visit)));
  add(['/new', '/cgi-bin/newemail.py'], ['GET', 'POST'], ({ request, visit, url, signal }) =>
    newAccount(request, visit, url.searchParams.get('token'), signal),
  );

  add(['/favicon.svg', '/favicon.ico'], ['GET'], () => ({
    status: 200,
    type: types.svg,
    body: pages.favicon,
    cache: 'day',
  }));
  add(['/robots.txt'], ['GET'], () => ({
    status: 200,
    type: types.text,
    body: 'User-agent: *\nDisallow: /new\nDisallow: /cgi-bin/\n',
    cache: 'day',
  }));
  add(['/health'], ['GET'], async () => {
    const isWell = await isHealthy();
    const body = `${JSON.stringify({ status: isWell ? 'ok' : 'failing' })}\n`;
    return { status: isWell ? 200 : 503, type: types.json, body };
  });
  add([mtaStsPath], ['GET'], ({ visit: { config, isVouchedFor } }) => {
    // A policy says that our certificate can be checked: not before it can.
    if (config.domain.kind !== 'name' || !isVouchedFor) {
      return { status: 404, type: types.text, body: 'No policy\n' };
    }
    return { status: 200, type: types.text, body: mtaStsPolicy(config.domain.name), cache: 'revalidate' };
  });
  add(['/.well-known/autoconfig/mail/config-v1.1.xml', '/mail/config-v1.1.xml'], ['GET'], ({ visit }) => ({
    status: 200,
    type: types.xml,
    body: autoconfigXml(visit.config.domain),
    cache: 'revalidate',
  }));
  add(
    ['/autodiscover/autodiscover.xml', '/Autodiscover/Autodiscover.xml'],
    ['POST'],
    async ({ request, visit }) => {
      const address = autodiscoverAddress(await readBody(request, maxAutodiscoverBytes));
      if (address === null) throw new ProtocolError('No address in an autodiscover request');
      return { status: 200, type: types.xml, body: autodiscoverXml(visit.config.domain, address) };
    },
  );
  return routes;
}
