import { X509Certificate } from 'node:crypto';
import { connect, createServer } from 'node:tls';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import {
  acmeIdentifierExtension,
  challengeServerName,
  makeChallengeCertificate,
} from '../../../appliance/acme/challenge-certificate.ts';
import {
  createHttpChallenges,
  createTlsAlpnChallenges,
  isToken,
  possibleChallenges,
  presentChallenge,
  removeChallenge,
} from '../../../appliance/acme/challenges.ts';

const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA';
const keyAuthorization = `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`;
const signal = new AbortController().signal;
const pending = (type: 'http-01' | 'tls-alpn-01' | 'dns-01', identifier: string) => ({
  type,
  identifier,
  token,
  keyAuthorization,
});

describe('acmeIdentifierExtension', () => {
  test('is the DER of RFC 8737: critical, an octet string of 32 bytes within an octet string', () => {
    const digest = '94233b719c905dc5472b69e75b78e3021353dc5be6d7c50dfa45996649caa183'; // sha256sum(1)
    const bytes = Buffer.from(acmeIdentifierExtension(keyAuthorization)).toString('hex');
    expect(bytes).toBe(`3031${'06082b0601050507011f'}0101ff04220420${digest}`);
  });
});

describe('makeChallengeCertificate', () => {
  test.each([
    ['chat.example.org', 'DNS:chat.example.org'],
    ['192.0.2.1', 'IP Address:192.0.2.1'],
    ['2001:db8::1', 'IP Address:2001:DB8:0:0:0:0:0:1'],
  ])('names %s alone, and signs itself', (identifier, subjectAltName) => {
    const { keyPem, certificatePem } = makeChallengeCertificate(identifier, keyAuthorization);
    const certificate = new X509Certificate(certificatePem);
    expect(certificate.subjectAltName).toBe(subjectAltName);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.raw.includes(Buffer.from(acmeIdentifierExtension(keyAuthorization)))).toBe(true);
    expect(keyPem).toContain('PRIVATE KEY');
  });
});

describe('challengeServerName', () => {
  test.each([
    ['Chat.example.org', 'chat.example.org'],
    ['192.0.2.1', '1.2.0.192.in-addr.arpa'], // RFC 8738 §6
    ['2001:db8::1', '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa'],
  ])('of %s', (identifier, name) => {
    expect(challengeServerName(identifier)).toBe(name);
  });
});

describe('createHttpChallenges', () => {
  test('answers by token alone, and only while a challenge is open', () => {
    const http = createHttpChallenges();
    const path = `/.well-known/acme-challenge/${token}`;
    expect(http.respond(path)).toBeUndefined();
    http.present(pending('http-01', 'chat.example.org'));
    expect(http.respond(path)).toBe(keyAuthorization);
    expect(http.respond(`${path}?x=1`)).toBe(keyAuthorization);
    for (const other of [
      '/',
      `/${token}`,
      `${path}/`,
      '/.well-known/acme-challenge/',
      `${path}x`,
      `/..${path}`,
    ]) {
      expect(http.respond(other)).toBeUndefined();
    }
    http.remove(pending('http-01', 'chat.example.org'));
    expect(http.respond(path)).toBeUndefined();
  });
});

describe('createTlsAlpnChallenges', () => {
  test('shows a client the certificate of the challenge for the name it asks for', async () => {
    const tlsAlpn = createTlsAlpnChallenges();
    tlsAlpn.present(pending('tls-alpn-01', '192.0.2.1'));
    const server = createServer({
      ALPNProtocols: ['acme-tls/1'],
      SNICallback: (name, done) => {
        const context = tlsAlpn.secureContext(name);
        if (context === undefined) done(new Error('none'));
        else done(null, context);
      },
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: '1.2.0.192.IN-ADDR.arpa',
      ALPNProtocols: ['acme-tls/1'],
      rejectUnauthorized: false,
    });
    await once(socket, 'secureConnect');
    const raw = socket.getPeerX509Certificate()?.raw ?? Buffer.alloc(0);
    expect(socket.alpnProtocol).toBe('acme-tls/1');
    expect(raw.includes(Buffer.from(acmeIdentifierExtension(keyAuthorization)))).toBe(true);
    socket.destroy();
    server.close();
    tlsAlpn.remove({ ...pending('tls-alpn-01', '192.0.2.1'), token: 'another' });
    expect(tlsAlpn.secureContext('1.2.0.192.in-addr.arpa')).toBeDefined();
    tlsAlpn.remove(pending('tls-alpn-01', '192.0.2.1'));
    expect(tlsAlpn.secureContext('1.2.0.192.in-addr.arpa')).toBeUndefined();
    expect(tlsAlpn.secureContext(undefined)).toBeUndefined();
  });
});

describe('isToken', () => {
  test('takes base64url and nothing that means something in a path', () => {
    expect(isToken(token)).toBe(true);
    for (const text of ['', 'a/b', '../x', 'a b', 'a%2e', 'a\n', 'x'.repeat(257)])
      expect(isToken(text)).toBe(false);
  });
});

describe('possibleChallenges', () => {
  test('tries the ports before the zone, and never the zone for an address', () => {
    expect(possibleChallenges('dns', 'auto', true)).toEqual(['http-01', 'tls-alpn-01', 'dns-01']);
    expect(possibleChallenges('dns', 'auto', false)).toEqual(['http-01', 'tls-alpn-01']);
    expect(possibleChallenges('ip', 'auto', true)).toEqual(['http-01', 'tls-alpn-01']);
    expect(possibleChallenges('dns', 'dns-01', true)).toEqual(['dns-01']);
  });
});

describe('presentChallenge', () => {
  test('puts dns-01 below _acme-challenge, and says when nobody can change the zone', async () => {
    const calls: string[] = [];
    const responders = { http: createHttpChallenges(), tlsAlpn: createTlsAlpnChallenges() };
    const dns = {
      present: async (name: string, value: string) => void calls.push(`+${name} ${value}`),
      remove: async (name: string, value: string) => void calls.push(`-${name} ${value}`),
    };
    const challenge = pending('dns-01', 'chat.example.org');
    await presentChallenge({ ...responders, dns }, challenge, signal);
    await removeChallenge({ ...responders, dns }, challenge, signal);
    expect(calls).toEqual([
      `+_acme-challenge.chat.example.org ${keyAuthorization}`,
      `-_acme-challenge.chat.example.org ${keyAuthorization}`,
    ]);
    await expect(presentChallenge(responders, challenge, signal)).rejects.toThrow('No credentials');
  });
});
