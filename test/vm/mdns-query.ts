/**
 * Asks the neighbours as a simple client does (RFC 6762 §6.7: a question from another port than 5353 is
 * answered to the one who asked), and prints what is in the answers, a line each. Runs inside a network
 * namespace: `mdns-query.ts ADDRESS NAME TYPE WAIT_MS`, ADDRESS being the interface's own.
 */
import { createSocket } from 'node:dgram';
import { decodeMessage, emptyMessage, encodeMessage } from '../../appliance/dns/message.ts';

const [address = '', name = '', type = '', waitMs = ''] = process.argv.slice(2);
const socket = createSocket('udp4');
socket.on('message', (bytes) => {
  for (const record of decodeMessage(bytes).answers) {
    process.stdout.write(`${record.name} ${record.type} ${record.value}\n`);
  }
});
socket.bind(0, address, () => {
  socket.setMulticastInterface(address);
  const query = encodeMessage({
    ...emptyMessage,
    id: 1,
    questions: [{ name, type, class: 1 }],
  });
  socket.send(query, 5353, '224.0.0.251');
  setTimeout(() => socket.close(), Number(waitMs));
});
