/** Asks the relay about invite tokens. */
import { request as httpRequest } from 'node:http';
import { ProtocolError } from '../base/errors.ts';
import { readBody } from '../base/read-body.ts';
import {
  decodeInviteTokenAnswer,
  type InviteTokenAnswer,
  type InviteTokenOutcome,
  type InviteTokenRequest,
  type InviteTokenState,
  maxInviteTokenBodyBytes,
} from '../contract/invite-tokens.ts';

export interface InviteTokenClient {
  /** @throws Error when the relay does not answer */
  check(request: InviteTokenRequest, signal: AbortSignal): Promise<InviteTokenState>;
  /** Makes an account. @throws Error when the relay does not answer */
  redeem(request: InviteTokenRequest, signal: AbortSignal): Promise<InviteTokenOutcome>;
}

/** A password hash on a small board, behind a hundred others. */
const timeoutMs = 30_000;

/** @param socketPath paths.accountsSocket */
export function createInviteTokenClient(socketPath: string): InviteTokenClient {
  async function ask(
    path: string,
    body: InviteTokenRequest,
    signal: AbortSignal,
  ): Promise<InviteTokenAnswer> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const answer = await new Promise<string>((resolve, reject) => {
      const outgoing = httpRequest({ socketPath, path, method: 'POST', signal: within, agent: false });
      outgoing.once('error', reject);
      outgoing.once('response', (response) => {
        readBody(response, maxInviteTokenBodyBytes).then(resolve, reject);
      });
      outgoing.end(JSON.stringify(body));
    });
    return decodeInviteTokenAnswer(answer);
  }
  return {
    async check(request, signal) {
      const answer = await ask('/check', request, signal);
      if (answer.kind === 'created') throw new ProtocolError('The relay has made an account unasked');
      return answer;
    },
    async redeem(request, signal) {
      const answer = await ask('/accounts', request, signal);
      if (answer.kind === 'valid') throw new ProtocolError('The relay has made no account');
      return answer;
    },
  };
}
