/** Speaks doveadm's protocol like Dovecot's doveadm service, and answers what a test says. */
import { createServer, type Server } from 'node:net';
import { createLineReader } from '../../appliance/base/line-reader.ts';

export interface FakeDoveadm extends AsyncDisposable {
  /** Every command: user, command, arguments. */
  readonly commands: (readonly string[])[];
}

export interface FakeDoveadmOptions {
  readonly socketPath: string;
  /** The raw answer to a command: output line and status line. */
  readonly answer: (user: string, command: string, args: readonly string[]) => string;
  /** @default '+\n' */
  readonly greeting?: string;
}

export async function startFakeDoveadm(options: FakeDoveadmOptions): Promise<FakeDoveadm> {
  const commands: (readonly string[])[] = [];
  const server: Server = createServer((socket) => {
    const reader = createLineReader(1_000_000);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      for (const line of reader.push(chunk)) {
        const [first, user = '', command = '', ...args] = line.toString().split('\t');
        if (first === 'VERSION') socket.write(options.greeting ?? '+\n');
        else {
          commands.push([user, command, ...args]);
          // In two pieces, since a stream may always be cut.
          const text = options.answer(user, command, args);
          socket.write(text.slice(0, 1));
          socket.write(text.slice(1));
        }
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(options.socketPath, resolve));
  return {
    commands,
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
