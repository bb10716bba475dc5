/**
 * Runs in the clients' namespace: a mail server of somebody else, on the ports such a server has. Told by
 * lines on stdin whether it knows /mxdeliv (`relay`) or not (`plain`); tells on stdout what it took.
 */
import { createInterface } from 'node:readline';
import { makeAuthority } from '../fakes/certificates.ts';
import { startOtherServer } from '../fakes/mail-server.ts';

// Nobody vouches for an address literal, so that any authority will do.
const server = await startOtherServer(makeAuthority().issue(['mx.stranger.example']), {
  host: '0.0.0.0',
  smtpPort: 25,
  httpsPort: 443,
});
server.received.push = (...messages) => {
  for (const message of messages) process.stdout.write(`${JSON.stringify(message)}\n`);
  return 0;
};
createInterface({ input: process.stdin }).on('line', (line) => {
  server.httpsAnswer =
    line === 'plain'
      ? (request, response) => {
          request.resume();
          response.writeHead(404).end('Not found');
        }
      : undefined;
  process.stdout.write('"changed"\n');
});
process.stdout.write('"ready"\n');
