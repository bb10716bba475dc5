import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { mtaStsPolicy } from '../../../appliance/contract/dns-records.ts';
import { languages } from '../../../appliance/web/language.ts';
import type { Pages } from '../../../appliance/web/pages.ts';
import { loadTestPages, startWeb, type WebServer } from './web-server.ts';
import { assertWellFormed } from './well-formed.ts';

let pages: Pages;
let web: WebServer;
beforeAll(async () => {
  pages = await loadTestPages();
  web = await startWeb(pages);
});
beforeEach(() => {
  Object.assign(web.state, {
    document: { domain: 'chat.example.org' },
    isVouchedFor: true,
    isHealthy: async () => true,
    tokenState: { kind: 'valid' },
    nowMs: web.state.nowMs + 3_600_000,
  });
  web.asked.length = 0;
  web.logged.length = 0;
});
afterAll(() => web[Symbol.asyncDispose]());

const hostile = `</p><script>alert(1)</script>" onload='x' & <%= 1 %>`;
const documents = {
  name: { domain: 'chat.example.org', comment: hostile, adminContact: 'mailto:admin@example.org' },
  address: { domain: '192.0.2.1', adminContact: `javascript:alert(1)//${hostile}` },
  'IPv6 address': { domain: '2001:db8::1', mail: { maxMessageBytes: 70_000 } },
  'other script': { domain: 'bücher.example', accounts: { create: 'closed' } },
  invitations: { domain: 'chat.example.org', accounts: { create: 'token' }, adminContact: hostile },
} as const;

describe('pages', () => {
  const paths = ['/', '/info', '/privacy', '/nothing', '/new?token=a-good-token'];
  test.each(Object.entries(documents))('of a relay with %s are well-formed', async (_, document) => {
    web.state.document = document as never;
    for (const language of languages) {
      for (const isVouchedFor of [true, false]) {
        web.state.isVouchedFor = isVouchedFor;
        web.state.nowMs += 60_000;
        for (const path of paths) {
          const { status, headers, body } = await web.get(path, { 'accept-language': language });
          if (headers['content-type'] !== 'text/html; charset=utf-8') {
            expect([301, 200]).toContain(status);
            continue;
          }
          assertWellFormed(body);
          expect(headers['content-language']).toBe(language);
          expect(body).toContain(`<html lang="${language}">`);
          expect(body).not.toMatch(/<script|undefined|\[object|NaN|onload='|href="javascript/);
        }
      }
    }
    expect(web.logged).toEqual([]);
  });

  test('show what the operator wrote as text', async () => {
    web.state.document = documents.name;
    const { body } = await web.get('/');
    expect(body).toContain(
      '&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#34; onload=&#39;x&#39; &amp; &lt;%= 1 %&gt;',
    );
  });

  test('link to a contact only by mail or https', async () => {
    web.state.document = documents.name;
    expect((await web.get('/info')).body).toContain(
      '<a href="mailto:admin@example.org">admin@example.org</a>',
    );
    web.state.document = documents.address;
    expect((await web.get('/info')).body).toContain('<dd>javascript:alert(1)//');
    web.state.document = { domain: 'chat.example.org', adminContact: 'admin@example.org' };
    expect((await web.get('/privacy')).body).toContain('<a href="mailto:admin@example.org">');
  });

  test('say what the settings say', async () => {
    web.state.document = {
      domain: 'chat.example.org',
      mail: { deleteAfterDays: 1, deleteLargeAfterDays: 3, maxMessageBytes: 5_250_000 },
      accounts: { deleteInactiveDays: 400 },
    };
    const info = await web.get('/info?lang=de');
    expect(info.body).toContain('Nach 1 Tag; Nachrichten über 200 kB nach 3 Tagen.');
    expect(info.body).toContain('5,2 MB');
    const privacy = await web.get('/privacy?lang=en');
    expect(privacy.body).toContain('and for 1 day at most');
    expect(privacy.body).toContain('for 400 days is deleted');
    expect(privacy.body).not.toContain('invitations');
    web.state.document = { domain: 'chat.example.org', accounts: { create: 'token' } };
    expect((await web.get('/privacy?lang=en')).body).toContain('Of invitations:');
  });

  test('keep to a language that was picked, and offer the others', async () => {
    const { body } = await web.get('/info?lang=es', { 'accept-language': 'de' });
    expect(body).toContain('<html lang="es">');
    expect(body).toContain('<a href="/privacy?lang=es">');
    expect(body).toContain('<a href="/info?lang=de" hreflang="de" lang="de">Deutsch</a>');
    expect((await web.get('/info', { 'accept-language': 'es' })).body).toContain('<a href="/privacy">');
  });

  test('show a name in its own script, and use its ASCII form', async () => {
    web.state.document = { domain: 'bücher.example' };
    const { body } = await web.get('/');
    expect(body).toContain('<title>bücher.example</title>');
    expect(body).toContain('href="dcaccount:xn--bcher-kva.example"');
  });

  test('allow one style, and nothing else', async () => {
    const { headers, body } = await web.get('/');
    const style = /<style>([^]*)<\/style>/.exec(body)?.[1] ?? '';
    expect(Buffer.byteLength(style)).toBeLessThan(6000);
    const hash = createHash('sha256').update(style).digest('base64');
    expect(headers['content-security-policy']).toBe(
      `default-src 'none'; style-src 'sha256-${hash}'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`,
    );
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      vary: 'Accept-Language',
    });
    expect(headers['permissions-policy']).toContain('camera=()');
    expect(body).not.toMatch(/ style=| src=/);
  });
});

describe('the invitation on the start page', () => {
  const uriOf = (body: string) => /<code>([^<]*)<\/code>/.exec(body)?.[1]?.replaceAll('&amp;', '&');

  test('is the name of a relay that is vouched for, and may be asked for again', async () => {
    const first = await web.get('/');
    expect(uriOf(first.body)).toBe('dcaccount:chat.example.org');
    expect(first.headers['cache-control']).toBe('no-cache');
    const again = await web.get('/', { 'if-none-match': `"x", W/${first.headers.etag}` });
    expect(again).toMatchObject({ status: 304, body: '' });
    expect((await web.get('/?lang=de', { 'if-none-match': `${first.headers.etag}` })).status).toBe(200);
  });

  test('is a new account each time where nobody vouches, and is not kept by anybody', async () => {
    web.state.isVouchedFor = false;
    const first = await web.get('/');
    expect(uriOf(first.body)).toMatch(
      /^dclogin:[a-z2-9]{9}@chat\.example\.org\?p=[a-z2-9]{22}&v=1&ih=chat\.example\.org&sh=chat\.example\.org&ic=3$/,
    );
    expect(first.headers['cache-control']).toBe('no-store');
    expect(uriOf((await web.get('/')).body)).not.toBe(uriOf(first.body));
  });

  test.each(['closed', 'token'] as const)('is not there where accounts are %s', async (create) => {
    web.state.document = { domain: 'chat.example.org', accounts: { create } };
    const { status, body } = await web.get('/?lang=en');
    expect(status).toBe(200);
    expect(body).not.toMatch(/dcaccount|dclogin|class="qr"/);
    expect(body).toContain(create === 'token' ? 'By invitation' : 'No new accounts');
  });
});

describe('requests', () => {
  test('for HEAD get the headers of GET', async () => {
    const get = await web.get('/info');
    const head = await web.ask('HEAD', '/info');
    expect(head.body).toBe('');
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
    expect(head.headers.etag).toBe(get.headers.etag);
  });

  test.each([
    ['POST', '/', 'GET, HEAD'],
    ['DELETE', '/new', 'GET, HEAD, POST'],
    ['GET', '/autodiscover/autodiscover.xml', 'POST'],
    ['OPTIONS', '/health', 'GET, HEAD'],
  ])('of a kind that is not taken hear which are: %s %s', async (method, path, allow) => {
    const { status, headers } = await web.ask(method, path);
    expect(status).toBe(405);
    expect(headers.allow).toBe(allow);
  });

  test.each(['/nothing', '/..', '/%2e%2e/etc/passwd', '//evil.example/', '/info/', '/INFO', '/__proto__'])(
    'for %s find nothing',
    async (path) => {
      const { status, headers } = await web.get(path);
      expect(status).toBe(path === '/..' ? 200 : 404);
      expect(headers.location).toBeUndefined();
    },
  );

  test.each(['/?q='.padEnd(3000, 'x'), 'ftp://chat.example.org/', 'http://[/'])(
    'that are none are refused: %.20s',
    async (path) => {
      const { status, headers } = await web.get(path);
      expect(status).toBe(400);
      expect(headers['content-security-policy']).toContain("default-src 'none'");
    },
  );

  test('in the form for proxies mean the same', async () => {
    expect((await web.get('http://elsewhere.example/robots.txt')).body).toContain('User-agent: *');
  });

  test('with a body that nobody reads end the connection', async () => {
    const socket = connect(Number(new URL(web.origin).port), '127.0.0.1');
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nGET /health HTTP/1.1\r\n\r\n');
    let heard = '';
    for await (const chunk of socket as AsyncIterable<Buffer>) heard += chunk.toString();
    expect(heard.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 405']);
    expect(heard).toMatch(/connection: close/i);
  });
});

describe('hosts', () => {
  test.each([
    ['www.chat.example.org', '/info?lang=de', 'https://chat.example.org/info?lang=de'],
    ['WWW.Chat.Example.Org:443', '/', 'https://chat.example.org/'],
    ['www.chat.example.org.', '//evil.example/', 'https://chat.example.org//evil.example/'],
    ['mta-sts.chat.example.org', '/', 'https://chat.example.org/'],
  ])('%s%s is found at the main name', async (host, path, location) => {
    expect(await web.get(path, { host })).toMatchObject({ status: 308, headers: { location } });
  });

  test.each(['evil.example', '"><script>', 'chat.example.org.evil.example'])(
    'a page does not believe in %s',
    async (host) => {
      const { status, body } = await web.get('/', { host });
      expect(status).toBe(200);
      expect(body).not.toContain(host);
    },
  );
});

describe('files', () => {
  const mtaSts = '/.well-known/mta-sts.txt';

  test.each(['chat.example.org', 'mta-sts.chat.example.org'])('the MTA-STS policy is at %s', async (host) => {
    const { status, headers, body } = await web.get(mtaSts, { host });
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('text/plain; charset=utf-8');
    expect(body).toBe(mtaStsPolicy('chat.example.org'));
  });

  test('there is no policy while nobody vouches for the certificate, and for an address', async () => {
    web.state.isVouchedFor = false;
    expect((await web.get(mtaSts)).status).toBe(404);
    web.state.isVouchedFor = true;
    web.state.document = { domain: '192.0.2.1' };
    expect((await web.get(mtaSts)).status).toBe(404);
  });

  test.each(['/.well-known/autoconfig/mail/config-v1.1.xml', '/mail/config-v1.1.xml'])(
    'settings for mail programs are at %s',
    async (path) => {
      const { status, headers, body } = await web.get(`${path}?emailaddress=alice@chat.example.org`);
      expect(status).toBe(200);
      expect(headers['content-type']).toBe('text/xml; charset=utf-8');
      expect(body).toContain('<clientConfig version="1.1">');
    },
  );

  test.each(['/autodiscover/autodiscover.xml', '/Autodiscover/Autodiscover.xml'])(
    'Outlook asks %s',
    async (path) => {
      const body = '<EMailAddress>&lt;b&gt;@chat.example.org</EMailAddress>';
      const answer = await web.ask('POST', path, { body });
      expect(answer.status).toBe(200);
      expect(answer.body).toContain('<LoginName>&lt;b&gt;@chat.example.org</LoginName>');
      expect((await web.ask('POST', path, { body: 'x' })).status).toBe(400);
      expect((await web.ask('POST', path, { body: 'x'.repeat(5000) })).status).toBe(400);
    },
  );

  test('robots and icon', async () => {
    expect((await web.get('/robots.txt')).headers['cache-control']).toBe('public, max-age=86400');
    const icon = await web.get('/favicon.ico');
    expect(icon.headers['content-type']).toBe('image/svg+xml');
    assertWellFormed(icon.body);
  });
});

describe('/health', () => {
  test('says whether the relay is well, and nothing else', async () => {
    expect(await web.get('/health')).toMatchObject({ status: 200, body: '{"status":"ok"}\n' });
    web.state.nowMs += 2000;
    web.state.isHealthy = async () => false;
    expect(await web.get('/health')).toMatchObject({ status: 503, body: '{"status":"failing"}\n' });
    web.state.nowMs += 2000;
    web.state.isHealthy = async () => {
      throw new Error('secret');
    };
    expect(await web.get('/health')).toMatchObject({ status: 503, body: '{"status":"failing"}\n' });
  });

  test('asks the supervisor once for all who ask within two seconds', async () => {
    let count = 0;
    web.state.isHealthy = async () => {
      count += 1;
      return true;
    };
    await Promise.all(Array.from({ length: 20 }, () => web.get('/health')));
    expect(count).toBe(1);
  });
});
