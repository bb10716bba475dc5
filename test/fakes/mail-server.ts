/** A mail server of another domain: SMTP with STARTTLS on one port, HTTPS with /mxdeliv on another. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import { createDotUnstuffer } from '../../appliance/smtp/dot-stuffing.ts';
import type { Credentials } from './certificates.ts';

export interface Received {
  readonly way: 'HTTPS' | 'SMTP';
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly text: string;
}

export interface OtherServer extends AsyncDisposable {
  readonly smtpPort: number;
  readonly httpsPort: number;
  readonly received: Received[];
  /** What SMTP answers, by the first word of a command, `.` for the message; undefined is the usual. */
  smtpReply: (verb: string, line: string) => string | undefined;
  /** What HTTPS answers; undefined takes the message. */
  httpsAnswer: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  offersStartTls: boolean;
  httpsConnections: number;
  smtpConnections: number;
}

export async function startOtherServer(
  credentials: Credentials,
  { host = '127.0.0.1', smtpPort = 0, httpsPort = 0 } = {},
): Promise<OtherServer> {
  const sockets = new Set<Socket>();
  const received: Received[] = [];
  const smtp = createServer((socket) => {
    sockets.add(socket);
    server.smtpConnections++;
    socket.on('error', () => {});
    const greeting = server.smtpReply('CONNECT', '');
    socket.write(greeting ?? '220 mx.other.example ESMTP\r\n');
    converse(socket, false);
  });
  const https = createHttpsServer({ key: credentials.key, cert: credentials.cert }, (request, response) => {
    request.on('error', () => {});
    if (server.httpsAnswer !== undefined) {
      server.httpsAnswer(request, response);
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({
        way: 'HTTPS',
        sender: request.headersDistinct['x-mail-from']?.[0] ?? '',
        recipients: request.headersDistinct['x-mail-to'] ?? [],
        text: Buffer.concat(chunks).toString(),
      });
      response.end('250 2.0.0 Ok\r\n');
    });
  });
  https.on('connection', (socket: Socket) => {
    sockets.add(socket);
    server.httpsConnections++;
  });
  https.on('tlsClientError', () => {});

  const converse = (socket: Socket, isSecure: boolean): void => {
    let sender = '';
    let recipients: string[] = [];
    let body: { unstuffer: ReturnType<typeof createDotUnstuffer>; parts: Uint8Array[] } | undefined;
    let pending = '';
    const take = (line: string): void => {
      const verb = /^[A-Z]*/i.exec(line)?.[0].toUpperCase() ?? '';
      const forced = server.smtpReply(verb, line);
      if (forced !== undefined) {
        socket.write(forced);
        return;
      }
      const address = /<(.*)>/.exec(line)?.[1] ?? '';
      switch (verb) {
        case 'EHLO':
          socket.write(
            `250-mx.other.example\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n${
              server.offersStartTls && !isSecure ? '250-STARTTLS\r\n' : ''
            }250 8BITMIME\r\n`,
          );
          return;
        case 'STARTTLS': {
          socket.write('220 2.0.0 Ready\r\n');
          socket.removeAllListeners('data');
          const secure = new TLSSocket(socket, {
            isServer: true,
            secureContext: createSecureContext({ key: credentials.key, cert: credentials.cert }),
          });
          secure.on('error', () => {});
          converse(secure, true);
          return;
        }
        case 'MAIL':
          sender = address;
          recipients = [];
          socket.write('250 2.1.0 Ok\r\n');
          return;
        case 'RCPT':
          recipients.push(address);
          socket.write('250 2.1.5 Ok\r\n');
          return;
        case 'DATA':
          body = { unstuffer: createDotUnstuffer(), parts: [] };
          socket.write('354 Go ahead\r\n');
          return;
        case 'QUIT':
          socket.end('221 2.0.0 Bye\r\n');
          return;
        default:
          socket.write('250 2.0.0 Ok\r\n');
      }
    };
    socket.on('data', (chunk: Buffer) => {
      let bytes: Uint8Array = chunk;
      if (body !== undefined) {
        const { parts, rest } = body.unstuffer.push(bytes);
        body.parts.push(...parts.map((part) => Buffer.from(part)));
        if (rest === undefined) return;
        const text = Buffer.concat(body.parts).toString();
        body = undefined;
        const forced = server.smtpReply('.', '');
        if (forced === undefined) received.push({ way: 'SMTP', sender, recipients, text });
        if (forced === '') socket.destroy();
        else socket.write(forced ?? '250 2.0.0 Ok\r\n');
        bytes = rest;
      }
      pending += Buffer.from(bytes).toString('latin1');
      for (let end = pending.indexOf('\r\n'); end >= 0; end = pending.indexOf('\r\n')) {
        const line = pending.slice(0, end);
        pending = pending.slice(end + 2);
        take(line);
      }
    });
  };

  const server: OtherServer = {
    smtpPort: 0,
    httpsPort: 0,
    received,
    smtpReply: () => undefined,
    httpsAnswer: undefined,
    offersStartTls: true,
    httpsConnections: 0,
    smtpConnections: 0,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await Promise.all([smtp, https].map((one) => new Promise((resolve) => one.close(resolve))));
    },
  };
  await new Promise<void>((resolve) => smtp.listen(smtpPort, host, resolve));
  await new Promise<void>((resolve) => https.listen(httpsPort, host, resolve));
  return Object.assign(server, {
    smtpPort: (smtp.address() as AddressInfo).port,
    httpsPort: (https.address() as AddressInfo).port,
  });
}
