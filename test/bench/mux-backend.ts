/**
 * `node mux-backend.ts SOURCE_BYTES`: what stands behind the multiplexers. Prints the ports of two servers: one
 * that answers the first bytes with one byte and swallows the rest, and tells at the end how much that was; and
 * one that answers the first bytes with SOURCE_BYTES bytes and the end.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import process from 'node:process';

const sourceBytes = Number(process.argv[2]);
const block = Buffer.alloc(256 * 1024, 'x');

async function listen(server: Server): Promise<number> {
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const sink = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  let total = 0;
  socket.once('data', () => socket.write('.'));
  socket.on('data', (chunk) => {
    total += chunk.length;
  });
  socket.on('end', () => socket.end(String(total)));
  socket.on('error', () => socket.destroy());
});

function pour(socket: Socket): void {
  let left = sourceBytes;
  const more = (): void => {
    while (left > 0) {
      const part = left >= block.length ? block : block.subarray(0, left);
      left -= part.length;
      if (!socket.write(part)) return;
    }
    socket.off('drain', more);
    socket.end();
  };
  socket.on('drain', more);
  more();
}

const source = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  socket.once('data', () => pour(socket));
  socket.on('error', () => socket.destroy());
});

process.stdout.write(`${await listen(sink)} ${await listen(source)}\n`);
process.once('SIGTERM', () => process.exit(0));
