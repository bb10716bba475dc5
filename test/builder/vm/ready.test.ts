import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import forge from 'node-forge';
import { describe, expect, test } from 'vitest';
import { checkImapGreeting, readSmtpBanner, waitUntilReady } from '../../../builder/vm/ready.ts';

const host = '127.0.0.1';
const signal = new AbortController().signal;
const xchatmail = '* OK [CAPABILITY IMAP4rev1 IDLE XCHATMAIL] ready\r\n';

async function listening(server: Server): Promise<{ port: number } & AsyncDisposable> {
  const open = new Set<Socket>();
  server.on('connection', (socket) => open.add(socket));
  server.listen(0, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}

const greeting = (text: () => string) =>
  listening(createServer((socket) => socket.on('error', () => {}).end(text())));

const selfSigned = (() => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(publicKey);
  certificate.serialNumber = '01';
  certificate.validity.notBefore = new Date(0);
  certificate.validity.notAfter = new Date('2099-01-01');
  certificate.setSubject([{ name: 'commonName', value: 'test' }]);
  certificate.sign(forge.pki.privateKeyFromPem(privateKey), forge.md.sha256.create());
  return { key: privateKey, cert: forge.pki.certificateToPem(certificate) };
})();

const tlsGreeting = (text: () => string) =>
  listening(createTlsServer({ ...selfSigned }, (socket) => socket.on('error', () => {}).end(text())));

describe('readSmtpBanner', () => {
  test('reads the name', async () => {
    await using server = await greeting(() => '220 chat.example.org ESMTP Postfix\r\n');
    expect(await readSmtpBanner({ host, port: server.port, signal })).toEqual({
      hostname: 'chat.example.org',
    });
  });

  test.each([['421 too busy\r\n'], [''], ['x'.repeat(10_000)]])('refuses %j', async (text) => {
    await using server = await greeting(() => text);
    await expect(readSmtpBanner({ host, port: server.port, signal })).rejects.toThrow('SMTP');
  });
});

describe('checkImapGreeting', () => {
  test('accepts a chatmail relay with any certificate', async () => {
    await using server = await tlsGreeting(() => xchatmail);
    await checkImapGreeting({ host, port: server.port, signal });
  });

  test('refuses another IMAP server', async () => {
    await using server = await tlsGreeting(() => '* OK [CAPABILITY IMAP4rev1] ready\r\n');
    await expect(checkImapGreeting({ host, port: server.port, signal })).rejects.toThrow('without XCHATMAIL');
  });

  test('refuses plain text', async () => {
    await using server = await greeting(() => xchatmail);
    await expect(checkImapGreeting({ host, port: server.port, signal })).rejects.toThrow('IMAP');
  });
});

describe('waitUntilReady', () => {
  test('tries again until both answer, and says what is missing', async () => {
    let attempts = 0;
    await using smtp = await greeting(() => '220 relay ESMTP\r\n');
    await using imaps = await tlsGreeting(() => (++attempts < 2 ? '* BYE not yet\r\n' : xchatmail));
    const reasons: string[] = [];
    const ready = await waitUntilReady({
      host,
      ports: { smtp: smtp.port, imaps: imaps.port },
      onWaiting: (reason) => reasons.push(reason),
      signal,
    });
    expect(ready).toEqual({ hostname: 'relay' });
    expect(reasons).toEqual(['IMAP greets with "* BYE not yet"']);
  });

  test('ends with the signal', async () => {
    const stop = new AbortController();
    await using smtp = await greeting(() => {
      stop.abort(new Error('enough'));
      return '';
    });
    const waiting = waitUntilReady({
      host,
      ports: { smtp: smtp.port, imaps: smtp.port },
      signal: stop.signal,
    });
    await expect(waiting).rejects.toThrow('enough');
  });
});
