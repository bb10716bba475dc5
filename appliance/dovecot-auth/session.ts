/** One connection of Postfix: lines in, lines out. No sockets. */
import { ProtocolError } from '../base/errors.ts';
import { createLineReader } from '../base/line-reader.ts';
import {
  decodeClientLine,
  decodePlain,
  encodeAccepted,
  encodeContinue,
  encodeFailed,
  encodeGreeting,
  type Greeting,
  maxLineBytes,
} from './codec.ts';

export type AuthOutcome =
  | { readonly kind: 'accepted'; readonly address: string }
  | { readonly kind: 'denied' }
  | { readonly kind: 'unavailable' };

/** Decides about a name and a password. */
export type Authenticate = (username: string, password: string) => Promise<AuthOutcome>;

/** An smtpd process has one client at a time; more than this is no Postfix. */
const maxOpenRequests = 16;

export interface AuthSession {
  /** @throws ProtocolError when the peer breaks the protocol: close the connection */
  push(chunk: Uint8Array): void;
}

/** Speaks through `write` from the first moment. `fail` gets what `authenticate` throws. */
export function createAuthSession(options: {
  readonly greeting: Greeting;
  readonly authenticate: Authenticate;
  readonly write: (text: string) => void;
  readonly fail: (error: unknown) => void;
}): AuthSession {
  const { authenticate, write, fail } = options;
  const reader = createLineReader(maxLineBytes);
  /** Requests whose client has yet to send its response. */
  const awaitingResponse = new Set<string>();
  const checking = new Set<string>();

  async function check(id: string, response: string): Promise<void> {
    const credentials = decodePlain(response);
    if (credentials === null) return write(encodeFailed(id));
    checking.add(id);
    let outcome: AuthOutcome;
    try {
      outcome = await authenticate(credentials.username, credentials.password);
    } catch (error) {
      fail(error);
      outcome = { kind: 'unavailable' };
    }
    // A cancelled request gets no answer.
    if (!checking.delete(id)) return;
    if (outcome.kind === 'accepted') write(encodeAccepted(id, outcome.address));
    else write(encodeFailed(id, { temporary: outcome.kind === 'unavailable' }));
  }

  function handle(line: string): void {
    const message = decodeClientLine(line);
    switch (message.kind) {
      case 'version':
        if (message.major !== 1)
          throw new ProtocolError(`Authentication protocol version ${message.major} is not 1`);
        return;
      case 'auth':
        if (awaitingResponse.has(message.id) || checking.has(message.id)) {
          throw new ProtocolError(`Authentication request ${message.id} is already open`);
        }
        if (awaitingResponse.size + checking.size >= maxOpenRequests) {
          throw new ProtocolError(`More than ${maxOpenRequests} authentication requests are open`);
        }
        if (message.mechanism !== 'PLAIN') return write(encodeFailed(message.id));
        if (message.response === null) {
          awaitingResponse.add(message.id);
          return write(encodeContinue(message.id));
        }
        return void check(message.id, message.response);
      case 'continue':
        if (!awaitingResponse.delete(message.id)) {
          throw new ProtocolError(`Authentication request ${message.id} is not open`);
        }
        return void check(message.id, message.response);
      case 'cancel':
        awaitingResponse.delete(message.id);
        checking.delete(message.id);
        return;
      case 'pid':
      case 'unknown':
        return;
    }
  }

  write(encodeGreeting(options.greeting));
  return {
    push(chunk) {
      for (const line of reader.push(chunk)) handle(line.toString('utf8'));
    },
  };
}
