/**
 * The pages in a real browser: axe-core finds nothing in any language, colour scheme or size; the
 * Content-Security-Policy stops nothing of ours; nothing is asked of anybody else; a scanner reads the codes.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type axe from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ConfigDocument } from '../../../appliance/contract/config.ts';
import { languages } from '../../../appliance/web/language.ts';
import type { Pages } from '../../../appliance/web/pages.ts';
import { devices, hasChromium, startBrowser, watch } from '../../oracles/browser.ts';
import { loadTestPages, startWeb, type WebServer } from './web-server.ts';

const domain = 'chat.example.org';
const comment = 'A relay for the house. Questions: ask Ada on the second floor.';
const adminContact = 'mailto:admin@example.org';
const ip = '192.0.2.1';

/** Every kind of page, by the relay that shows it. */
const visits: readonly (readonly [
  what: string,
  path: string,
  document: ConfigDocument,
  isVouchedFor: boolean,
])[] = [
  ['start page', '/', { domain, comment }, true],
  ['start page of a self-signed relay', '/', { domain: ip, comment }, false],
  ['start page by invitation', '/', { domain, accounts: { create: 'token' } }, true],
  ['start page without accounts', '/', { domain: 'bücher.example', accounts: { create: 'closed' } }, true],
  ['details', '/info', { domain, adminContact }, true],
  ['privacy', '/privacy', { domain, adminContact }, true],
  ['invitation', '/new?token=a-good-token', { domain, accounts: { create: 'token' } }, true],
  [
    'invitation with a button',
    '/new?token=a-good-token',
    { domain: ip, accounts: { create: 'token' } },
    false,
  ],
  ['page that is not there', '/nothing', { domain }, true],
];

const scanner = '/usr/bin/zbarimg';
const axeSource = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

describe.skipIf(!hasChromium && process.env.CI === undefined)('pages in Chromium', () => {
  let browser: Browser;
  let pages: Pages;
  let web: WebServer;
  beforeAll(async () => {
    [browser, pages] = await Promise.all([startBrowser(), loadTestPages()]);
    web = await startWeb(pages);
  });
  afterAll(async () => {
    await browser.close();
    await web[Symbol.asyncDispose]();
  });

  const show = (document: ConfigDocument, isVouchedFor: boolean) =>
    Object.assign(web.state, { document, isVouchedFor, nowMs: web.state.nowMs + 3_600_000 });

  /** `color-contrast` alone depends on the colours; where axe cannot tell, that is no pass. */
  const violations = (page: Page, rules: 'all' | 'color-contrast'): Promise<string[]> =>
    page.evaluate(async (which) => {
      const { axe: inPage } = globalThis as unknown as { axe: typeof axe };
      const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
      const found = await inPage.run({ runOnly: which === 'all' ? tags : [which] });
      return [...found.violations, ...found.incomplete].map(
        ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`,
      );
    }, rules);

  /** axe cannot judge text on a gradient, so it is shown each end of it. */
  const background = (colour: '--paper' | '--glow') => ({
    content: `body { background: var(${colour}) !important }`,
  });

  describe.each(Object.keys(devices) as (keyof typeof devices)[])('on a %s', (device) => {
    test.each(visits)('%s', async (_, path, document, isVouchedFor) => {
      await using strict = await browser.newContext({ viewport: devices[device] });
      // axe itself needs what the policy forbids: it looks at the page without one.
      await using lenient = await browser.newContext({ viewport: devices[device], bypassCSP: true });
      const [page, examined] = await Promise.all([strict.newPage(), lenient.newPage()]);
      const complaints = watch(page, web.origin);
      for (const language of languages) {
        show(document, isVouchedFor);
        const url = `${web.origin}${path}${path.includes('?') ? '&' : '?'}lang=${language}`;
        await page.goto(url);
        expect(await page.getAttribute('html', 'lang')).toBe(language);
        // Nothing stands out to the right, where a phone would have to scroll.
        const { width } = devices[device];
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);

        await examined.emulateMedia({ colorScheme: 'light' });
        await examined.goto(url);
        await examined.addScriptTag({ path: axeSource });
        await examined.addStyleTag(background('--paper'));
        expect(await violations(examined, 'all'), language).toEqual([]);
        await examined.emulateMedia({ colorScheme: 'dark' });
        expect(await violations(examined, 'color-contrast'), `${language}, dark`).toEqual([]);
        await examined.addStyleTag(background('--glow'));
        expect(await violations(examined, 'color-contrast'), `${language}, dark, glow`).toEqual([]);
        await examined.emulateMedia({ colorScheme: 'light' });
        expect(await violations(examined, 'color-contrast'), `${language}, glow`).toEqual([]);
      }
      expect(complaints).toEqual([]);
    });
  });

  test('axe sees what is wrong', async () => {
    show({ domain }, true);
    await using context = await browser.newContext({ bypassCSP: true });
    const page = await context.newPage();
    await page.goto(`${web.origin}/info`);
    await page.addScriptTag({ path: axeSource });
    await page.addStyleTag(background('--paper'));
    await page.evaluate(
      `document.querySelector('main').innerHTML += '<img src="/favicon.svg"><p style="color:#999;background:#888">Hello</p>'`,
    );
    expect(await violations(page, 'all')).toHaveLength(2);
    expect(await violations(page, 'color-contrast')).toHaveLength(1);
  });

  test('what is tapped is large enough to be hit', async () => {
    show({ domain, comment }, true);
    await using context = await browser.newContext({ viewport: devices.phone });
    const page = await context.newPage();
    await page.goto(`${web.origin}/`);
    for (const link of await page.locator('nav a, .button').all()) {
      expect((await link.boundingBox())?.height).toBeGreaterThanOrEqual(44);
    }
  });

  test('a button makes the account of an invitation, and its page has the code', async () => {
    show({ domain: ip, accounts: { create: 'token' } }, false);
    await using context = await browser.newContext({ viewport: devices.phone, locale: 'de' });
    const page = await context.newPage();
    const complaints = watch(page, web.origin);
    await page.goto(`${web.origin}/new?token=a-good-token`);
    await page.getByRole('button').click();
    expect(await page.textContent('h1')).toBe('Dein Konto ist da');
    expect(complaints).toEqual([]);
  });

  describe.skipIf(!existsSync(scanner) && process.env.CI === undefined)('a scanner reads', () => {
    let directory: string;
    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'web-'));
    });
    afterAll(() => rm(directory, { recursive: true }));

    const read = (path: string) =>
      execFileSync(scanner, ['--quiet', '--nodbus', '--raw', path], { encoding: 'utf8' }).trim();

    test.each([
      ['start page', 'light', '/', { domain }, true],
      ['start page', 'dark', '/', { domain }, true],
      ['self-signed start page', 'dark', '/', { domain: ip }, false],
      ['invitation', 'light', '/new?token=a-good-token', { domain, accounts: { create: 'token' } }, true],
    ] as const)('the code of the %s, %s', async (_, colorScheme, path, document, isVouchedFor) => {
      show(document, isVouchedFor);
      await using context = await browser.newContext({ viewport: devices.phone, colorScheme });
      const page = await context.newPage();
      await page.goto(`${web.origin}${path}`);
      const uri = await page.textContent('code');
      expect(uri).toMatch(/^(?:dcaccount|dclogin):/);
      expect(await page.getAttribute('.button', 'href')).toBe(uri);
      const screen = join(directory, 'screen.png');
      await page.screenshot({ path: screen, fullPage: true });
      expect(read(screen)).toBe(uri);
      await page.emulateMedia({ media: 'print' });
      await page.setViewportSize({ width: 794, height: 1123 });
      const paper = join(directory, 'paper.png');
      await page.screenshot({ path: paper });
      expect(read(paper)).toBe(uri);
    });
  });

  test('on paper the invitation is one page, without what is for the screen', async () => {
    show({ domain: ip, comment }, false);
    await using context = await browser.newContext({ viewport: devices.desktop, colorScheme: 'dark' });
    const page = await context.newPage();
    await page.goto(`${web.origin}/`);
    const pdf = (await page.pdf({ format: 'A4' })).toString('latin1');
    expect(pdf.match(/\/Type\s*\/Page\b/g)).toHaveLength(1);
    await page.emulateMedia({ media: 'print' });
    expect(await page.isVisible('nav')).toBe(false);
    expect(await page.isVisible('.button')).toBe(false);
    expect(await page.isVisible('.qr')).toBe(true);
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(255, 255, 255)');
  });
});
