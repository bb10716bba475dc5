import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Pages } from '../../../appliance/web/pages.ts';
import { loadTestPages, startWeb, type WebServer } from './web-server.ts';

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
    isEncrypted: true,
    tokenState: { kind: 'valid' },
    nowMs: web.state.nowMs + 3_600_000,
  });
  web.asked.length = 0;
});
afterAll(() => web[Symbol.asyncDispose]());

const post = (path: string, headers: Record<string, string> = {}) => web.ask('POST', path, { headers });
const submit = (body: string) =>
  web.ask('POST', '/new?lang=es', { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body });

describe('/new where accounts are open', () => {
  test.each(['/new', '/cgi-bin/newemail.py'])('POST %s invents an account', async (path) => {
    const { status, headers, body } = await post(path);
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('application/json');
    expect(headers['cache-control']).toBe('no-store');
    const account = JSON.parse(body);
    expect(account).toEqual({
      email: expect.stringMatching(/^[a-z2-9]{9}@chat\.example\.org$/),
      password: expect.stringMatching(/^[a-z2-9]{22}$/),
    });
    expect(JSON.parse((await post(path)).body).email).not.toBe(account.email);
    expect(web.asked).toEqual([]);
  });

  test('GET sends a phone to its app', async () => {
    expect(await web.get('/new')).toMatchObject({
      status: 301,
      headers: { location: 'dcaccount:https://chat.example.org/new', 'cache-control': 'no-store' },
    });
  });

  test('an account of a relay that nobody vouches for comes with its servers, by GET too', async () => {
    web.state.isVouchedFor = false;
    for (const answer of [await post('/new'), await web.get('/new')]) {
      const { email, password, dclogin_url } = JSON.parse(answer.body);
      expect(dclogin_url).toBe(
        `dclogin:${email}?p=${password}&v=1&ih=chat.example.org&sh=chat.example.org&ic=3`,
      );
    }
  });

  test('so does one of an address, whose certificate is checked when it is vouched for', async () => {
    web.state.document = { domain: '2001:db8::1' };
    const { email, dclogin_url } = JSON.parse((await web.get('/new')).body);
    expect(email).toMatch(/^[a-z2-9]{9}@\[2001:db8::1\]$/);
    expect(dclogin_url).toMatch(/&ih=2001:db8::1&sh=2001:db8::1$/);
  });

  test('names and passwords are as long as the rules want them', async () => {
    web.state.document = {
      domain: 'chat.example.org',
      accounts: { localpartMin: 12, localpartMax: 14, passwordMin: 40 },
    };
    const { email, password } = JSON.parse((await post('/new')).body);
    expect(email.split('@')[0]).toHaveLength(12);
    expect(password).toHaveLength(40);
  });

  test('one client gets twenty at once, then one a second', async () => {
    for (let index = 0; index < 20; index += 1) expect((await post('/new')).status).toBe(200);
    const refused = await post('/new');
    expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': '60' } });
    expect(JSON.parse(refused.body).reason).toContain('Try again in a minute.');
    web.state.nowMs += 1000;
    expect((await post('/new')).status).toBe(200);
  });
});

describe('/new where accounts are closed', () => {
  test('says so, to apps in a reason and to people on a page', async () => {
    web.state.document = { domain: 'chat.example.org', accounts: { create: 'closed' } };
    expect(await post('/new')).toMatchObject({
      status: 403,
      body: '{"reason":"No new accounts. This relay takes nobody new at the moment."}\n',
    });
    const page = await web.get('/new', { 'accept-language': 'de' });
    expect(page.status).toBe(403);
    expect(page.body).toContain('<h1>Keine neuen Konten</h1>');
  });
});

describe('/new with invite tokens', () => {
  const token = 'a-good-token';
  const asked = (kind: string) => [[kind, { token, client: '127.0.0.1' }]];
  beforeEach(() => {
    web.state.document = { domain: 'chat.example.org', accounts: { create: 'token' } };
  });

  test('an app that posts gets the account the relay has made', async () => {
    const { status, body } = await post(`/new?token=${token}`);
    expect(status).toBe(200);
    expect(JSON.parse(body)).toEqual({
      email: 'madebyrly@chat.example.org',
      password: 'made-by-the-relay-2222',
    });
    expect(web.asked).toEqual(asked('redeem'));
  });

  test.each(['GET', 'HEAD'])('%s makes no account: previews of links do that', async (method) => {
    const { status, body } = await web.ask(method, `/new?token=${token}`);
    expect(status).toBe(200);
    if (method === 'GET') {
      expect(body).toContain(`href="dcaccount:https://chat.example.org/new?token=${token}"`);
    }
    expect(web.asked).toEqual(asked('check'));
  });

  test('where apps cannot ask, a button makes the account, and the page shows it once', async () => {
    web.state.isVouchedFor = false;
    const offer = await web.get(`/new?token=${token}&lang=en`);
    expect(offer.body).toContain(`<input type="hidden" name="token" value="${token}">`);
    expect(offer.body).toContain('action="/new?lang=en"');
    expect(offer.body).not.toContain('class="qr"');
    web.asked.length = 0;
    const made = await submit(`token=${token}`);
    expect(made.status).toBe(200);
    expect(made.headers['cache-control']).toBe('no-store');
    expect(made.body).toContain('<h1>Tu cuenta está lista</h1>');
    expect(made.body).toContain('madebyrly@chat.example.org');
    expect(made.body).toContain('href="dclogin:madebyrly@chat.example.org?p=made-by-the-relay-2222&amp;');
    expect(made.body).not.toContain(token);
    expect(web.asked).toEqual(asked('redeem'));
  });

  test('that button is not there in the clear, on port 80', async () => {
    Object.assign(web.state, { isVouchedFor: false, isEncrypted: false });
    const location = `https://chat.example.org/new?token=${token}`;
    expect(await web.get(`/new?token=${token}`)).toMatchObject({ status: 302, headers: { location } });
  });

  test('a form that is not ours is not read', async () => {
    expect((await submit(`token=${token}&more=1`)).status).toBe(400);
    expect((await submit(`token=${'x'.repeat(2000)}`)).status).toBe(400);
    expect(web.asked).toEqual([]);
  });

  test.each([
    ['unknown', 403, 'Unknown invitation'],
    ['expired', 410, 'Too late'],
    ['used-up', 410, 'Used already'],
    ['closed', 403, 'No new accounts'],
    ['busy', 429, 'One moment'],
    ['unavailable', 503, 'Not just now'],
  ] as const)('a token that is %s gives no account, and a reason', async (reason, status, heading) => {
    web.state.tokenState = { kind: 'refused', reason };
    const app = await post(`/new?token=${token}`);
    expect(app.status).toBe(status);
    expect(JSON.parse(app.body).reason).toContain(heading);
    const person = await web.get(`/new?token=${token}`);
    expect(person.status).toBe(status);
    expect(person.body).toContain(`<h1>${heading}</h1>`);
  });

  test('without one nobody is asked', async () => {
    expect((await post('/new')).status).toBe(403);
    expect((await web.get('/new')).body).toContain('An invitation is needed');
    expect(web.asked).toEqual([]);
  });
});
