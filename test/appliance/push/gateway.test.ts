import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createGateway, gatewayUrl } from '../../../appliance/push/gateway.ts';

let server: Server;
let bodies: string[];
let url = '';
const never = new AbortController().signal;

beforeEach(async () => {
  bodies = [];
  server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      bodies.push(`${request.method} ${request.url} ${body}`);
      if (body !== 'silent') response.writeHead(body === 'gone' ? 410 : 200).end('ignored');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/notify`;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

describe('createGateway', () => {
  test('posts the bare token and gives the status back', async () => {
    using gateway = createGateway(url);
    expect(await gateway.post('openpgp:wV4D+/8=', never)).toBe(200);
    expect(await gateway.post('gone', never)).toBe(410);
    expect(bodies).toEqual(['POST /notify openpgp:wV4D+/8=', 'POST /notify gone']);
  });

  test('fails when nobody listens', async () => {
    using gateway = createGateway('http://127.0.0.1:1/notify');
    await expect(gateway.post('token', never)).rejects.toThrow('ECONNREFUSED');
  });

  test('stops waiting when told to', async () => {
    using gateway = createGateway(url);
    const stop = new AbortController();
    const posted = gateway.post('silent', stop.signal);
    server.once('request', () => stop.abort());
    await expect(posted).rejects.toThrow('aborted');
  });

  test('goes to the gateway of Delta Chat by TLS', () => {
    expect(gatewayUrl).toBe('https://notifications.delta.chat/notify');
  });
});
