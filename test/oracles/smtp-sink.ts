/** An SMTP server that takes every message and keeps its exact bytes, or refuses recipients by name. */
import { createServer, type Socket } from 'node:net';

export interface SunkMessage {
  readonly sender: string;
  readonly recipients: readonly string[];
  /** As sent, dots unstuffed, CRLF line ends. */
  readonly bytes: Buffer;
}

export interface SmtpSink extends AsyncDisposable {
  readonly port: number;
  /** The next message, in order of arrival. */
  next(): Promise<SunkMessage>;
}

export async function startSmtpSink(refuse: (recipient: string) => boolean = () => false): Promise<SmtpSink> {
  const arrived: SunkMessage[] = [];
  const waiting: ((message: SunkMessage) => void)[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    converse(socket, refuse, (message) => {
      const taker = waiting.shift();
      if (taker === undefined) arrived.push(message);
      else taker(message);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No port');
  return {
    port: address.port,
    next: () => {
      const message = arrived.shift();
      return message === undefined
        ? new Promise((resolve) => waiting.push(resolve))
        : Promise.resolve(message);
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function converse(
  socket: Socket,
  refuse: (recipient: string) => boolean,
  take: (message: SunkMessage) => void,
): void {
  let buffer = Buffer.alloc(0);
  let inData = false;
  let sender = '';
  let recipients: string[] = [];
  socket.write('220 sink.example.net ESMTP\r\n');
  socket.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk]);
    for (;;) {
      const end = inData ? buffer.indexOf('\r\n.\r\n') : buffer.indexOf('\r\n');
      if (end < 0) return;
      if (inData) {
        const text = buffer.toString('latin1', 0, end + 2).replace(/^\./gm, '');
        buffer = buffer.subarray(end + 5);
        inData = false;
        take({ sender, recipients, bytes: Buffer.from(text, 'latin1') });
        recipients = [];
        socket.write('250 2.0.0 Ok\r\n');
        continue;
      }
      const line = buffer.toString('latin1', 0, end);
      buffer = buffer.subarray(end + 2);
      const verb = line.slice(0, 4).toUpperCase();
      const address = /<(.*)>/.exec(line)?.[1] ?? '';
      if (verb === 'EHLO') socket.write('250-sink.example.net\r\n250 8BITMIME\r\n');
      else if (verb === 'MAIL') {
        sender = address;
        recipients = [];
        socket.write('250 2.1.0 Ok\r\n');
      } else if (verb === 'RCPT') {
        if (refuse(address)) socket.write('550 5.1.1 No such user\r\n');
        else {
          recipients.push(address);
          socket.write('250 2.1.5 Ok\r\n');
        }
      } else if (verb === 'DATA') {
        inData = true;
        socket.write('354 Go ahead\r\n');
      } else if (verb === 'QUIT') socket.end('221 2.0.0 Bye\r\n');
      else socket.write('250 2.0.0 Ok\r\n');
    }
  });
}
