/** The web handler on a port of loopback, with a relay behind it that lives in the test. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createLog } from '../../../appliance/base/log.ts';
import { type ConfigDocument, parseConfig } from '../../../appliance/contract/config.ts';
import type { InviteTokenRequest, InviteTokenState } from '../../../appliance/contract/invite-tokens.ts';
import { createWebHandler } from '../../../appliance/web/handler.ts';
import { loadPages, type Pages } from '../../../appliance/web/pages.ts';

export const loadTestPages = (): Promise<Pages> => loadPages(join(import.meta.dirname, '../../../templates'));

/** What the test changes while the server runs. */
export interface WebState {
  document: ConfigDocument;
  isVouchedFor: boolean;
  /** Whether requests seem to come over TLS. */
  isEncrypted: boolean;
  isHealthy: () => Promise<boolean>;
  tokenState: InviteTokenState;
  nowMs: number;
}

export interface WebAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface WebServer extends AsyncDisposable {
  readonly origin: string;
  readonly state: WebState;
  /** What was asked of the relay: `check` or `redeem`, and with what. */
  readonly asked: (readonly [string, InviteTokenRequest])[];
  readonly logged: string[];
  ask(
    method: string,
    path: string,
    options?: { readonly headers?: Record<string, string>; readonly body?: string },
  ): Promise<WebAnswer>;
  get(path: string, headers?: Record<string, string>): Promise<WebAnswer>;
}

export async function startWeb(pages: Pages, initial: Partial<WebState> = {}): Promise<WebServer> {
  const state: WebState = {
    document: { domain: 'chat.example.org' },
    isVouchedFor: true,
    isEncrypted: true,
    isHealthy: async () => true,
    tokenState: { kind: 'valid' },
    nowMs: 0,
    ...initial,
  };
  const asked: (readonly [string, InviteTokenRequest])[] = [];
  const logged: string[] = [];
  const handler = createWebHandler({
    pages,
    config: () => parseConfig(state.document),
    isVouchedFor: () => state.isVouchedFor,
    isHealthy: () => state.isHealthy(),
    inviteTokens: {
      check: async (request) => {
        asked.push(['check', request]);
        return state.tokenState;
      },
      redeem: async (request) => {
        asked.push(['redeem', request]);
        if (state.tokenState.kind === 'refused') return state.tokenState;
        return { kind: 'created', localpart: 'madebyrly', password: 'made-by-the-relay-2222' };
      },
    },
    clock: { monotonicMs: () => state.nowMs },
    log: createLog('web', (line) => logged.push(line), 'debug'),
  });
  const server = createServer((request, response) => {
    if (state.isEncrypted) Object.assign(request.socket, { encrypted: true });
    handler(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const ask: WebServer['ask'] = async (method, path, { headers = {}, body = '' } = {}) => {
    const outgoing = httpRequest({ port, method, path, headers, agent: false });
    outgoing.end(body);
    const [response] = await once(outgoing, 'response');
    response.setEncoding('utf8');
    let text = '';
    for await (const chunk of response) text += String(chunk);
    return { status: response.statusCode, headers: response.headers, body: text };
  };
  return {
    origin: `http://127.0.0.1:${port}`,
    state,
    asked,
    logged,
    ask,
    get: (path, headers) => ask('GET', path, headers === undefined ? {} : { headers }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
