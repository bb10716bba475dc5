// Runs inside a network namespace and opens TCP connections there for a test outside of it, since a
// Node process cannot change its own namespace. Each connection to the unix socket starts with one line,
// "host port\n"; then bytes go both ways until either side ends.
import { connect, createServer } from 'node:net';

const [socketPath] = process.argv.slice(2);
createServer({ allowHalfOpen: true }, (near) => {
  let head = Buffer.alloc(0);
  near.on('error', () => near.destroy());
  near.on('data', function first(chunk) {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\n');
    if (end < 0) return;
    near.off('data', first);
    near.pause();
    const [host, port] = head.subarray(0, end).toString().split(' ');
    const far = connect({ host, port: Number(port), allowHalfOpen: true });
    far.on('error', () => near.destroy());
    far.write(head.subarray(end + 1));
    near.pipe(far);
    far.pipe(near);
  });
}).listen(socketPath, () => process.stdout.write('listening\n'));
