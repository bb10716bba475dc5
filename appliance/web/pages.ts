/** The pages: EJS templates, compiled once, and what each of them is given. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import ejs from 'ejs';
import type { Config } from '../contract/config.ts';
import { mailDomain, plainDomain } from '../contract/domain.ts';
import { largeMessageBytes, pushTokenLifetimeDays } from '../contract/retention.ts';
import { mailServers } from './autoconfig.ts';
import { type Language, languages } from './language.ts';
import { qrOutline } from './qr-svg.ts';
import { type Section, type Texts, texts } from './texts.ts';

/** What every page is made for. */
export interface Visit {
  readonly config: Config;
  readonly isVouchedFor: boolean;
  readonly language: Language;
  /** What of the query goes on in links to the same page. */
  readonly query: Readonly<Record<string, string>>;
  readonly pathname: string;
  /** True when the visitor picked the language on the page: links keep to it. */
  readonly hasChosenLanguage: boolean;
}

export interface Pages {
  /** @param uri what the code says; undefined where there are no accounts to be had */
  start(visit: Visit, uri: string | undefined): string;
  info(visit: Visit): string;
  privacy(visit: Visit): string;
  /** For whom holds an invite token. With `token` the page has a button that makes the account. */
  invitation(visit: Visit, invitation: InvitationLocals): string;
  problem(visit: Visit, problem: Section): string;
  readonly favicon: string;
  /** A Content-Security-Policy that lets these pages be what they are, and nothing else. */
  readonly contentSecurityPolicy: string;
}

export interface InvitationLocals {
  readonly uri?: string;
  readonly account?: { readonly address: string; readonly password: string };
  readonly token?: string;
}

/** Reads and compiles `www/` of the templates. @throws Error naming the template that cannot be compiled */
export async function loadPages(templatesDirectory: string): Promise<Pages> {
  const directory = join(templatesDirectory, 'www');
  const read = (name: string) => readFile(join(directory, name), 'utf8');
  const names = (await readdir(directory)).filter((name) => name.endsWith('.ejs'));
  const sources = new Map(
    await Promise.all(names.map(async (name) => [basename(name, '.ejs'), await read(name)] as const)),
  );
  // Inline, so that a page is one request; indentation is for us alone.
  const css = (await read('style.css')).replace(/\n\s*/g, '\n').trim();
  const favicon = await read('favicon.svg');

  const compiled = new Map(
    [...sources].map(([name, source]) => [name, ejs.compile(source, { filename: `www/${name}.ejs` })]),
  );
  // EJS's own include reads files again at every use.
  const include = (name: string, locals: object): string => {
    const template = compiled.get(name);
    if (template === undefined) throw new Error(`There is no template ${name}.ejs`);
    return template({
      ...locals,
      include: (other: string, more: object = {}) => include(other, { ...locals, ...more }),
    });
  };

  /** Keeps the language a visitor has picked. */
  const href = (path: string, visit: Visit): string =>
    visit.hasChosenLanguage ? `${path}?lang=${visit.language}` : path;

  const page = (content: string, visit: Visit, locals: object, title?: string): string => {
    const { config, language, pathname } = visit;
    const t = texts[language];
    const name = config.domain.kind === 'name' ? config.domain.unicode : config.domain.address;
    const links = [
      { path: '/', label: t.start.label },
      { path: '/info', label: t.info.label },
      { path: '/privacy', label: t.privacy.label },
    ].map(({ path, label }) => ({ href: href(path, visit), label, isCurrent: path === pathname }));
    const translations = languages.map((other) => ({
      language: other,
      name: texts[other].name,
      href: `${pathname}?${new URLSearchParams({ ...visit.query, lang: other }).toString()}`,
      isCurrent: other === language,
    }));
    return include('page', {
      ...locals,
      content,
      css,
      t,
      language,
      config,
      name,
      host: plainDomain(config.domain),
      mailDomain: mailDomain(config.domain),
      selfSigned: !visit.isVouchedFor,
      contact: contactOf(config),
      title: title === undefined ? name : `${title} · ${name}`,
      links,
      translations,
    });
  };
  const code = (uri: string | undefined) => (uri === undefined ? undefined : { uri, ...qrOutline(uri) });

  return {
    favicon,
    contentSecurityPolicy: [
      "default-src 'none'",
      `style-src 'sha256-${createHash('sha256').update(css).digest('base64')}'`,
      "img-src 'self'",
      "form-action 'self'",
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ].join('; '),
    start(visit, uri) {
      const { needsInvite, closed } = texts[visit.language].start;
      const { config } = visit;
      return page('start', visit, {
        code: code(uri),
        gives: uri?.startsWith('dclogin:') === true,
        joining: config.accounts.create === 'token' ? needsInvite : closed,
        comment: config.comment.trim(),
      });
    },
    info: (visit) =>
      page(
        'info',
        visit,
        {
          megabytes: (bytes: number) => megabytes(bytes, visit.language),
          largeKilobytes: largeMessageBytes / 1000,
          servers: mailServers,
        },
        texts[visit.language].info.label,
      ),
    privacy: (visit) => page('privacy', visit, privacyLocals(visit), texts[visit.language].privacy.label),
    invitation(visit, { uri, account, token }) {
      const { title, lead, ready, readyText } = texts[visit.language].invitation;
      const heading = account === undefined ? title : ready;
      const locals = { heading, lead: account === undefined ? lead : readyText, account, token };
      return page('invitation', visit, { ...locals, code: code(uri) }, heading);
    },
    problem: (visit, problem) => page('problem', visit, { problem, back: href('/', visit) }, problem.heading),
  };
}

function privacyLocals({ config, language }: Visit): object {
  const { mail, accounts } = config;
  const t: Texts = texts[language];
  return {
    sections: t.privacy.sections({
      deleteAfterDays: mail.deleteAfterDays,
      deleteLargeAfterDays: mail.deleteLargeAfterDays,
      largeKilobytes: largeMessageBytes / 1000,
      deleteInactiveDays: accounts.deleteInactiveDays,
      pushTokenDays: pushTokenLifetimeDays,
      usesTokens: accounts.create === 'token',
    }),
  };
}

/** In millions of bytes, rounded down: nobody is promised more than there is. */
function megabytes(bytes: number, language: Language): string {
  return new Intl.NumberFormat(language, {
    style: 'unit',
    unit: 'megabyte',
    maximumFractionDigits: bytes < 10e6 ? 1 : 0,
    roundingMode: 'floor',
  }).format(bytes / 1e6);
}

/** What is no address of a known kind is shown as text: a link could be anything. */
function contactOf({ adminContact }: Config): { text: string; href?: string } | undefined {
  const text = adminContact.trim();
  if (text === '') return undefined;
  if (/^mailto:/i.test(text)) return { text: text.slice('mailto:'.length), href: text };
  if (/^https:\/\//i.test(text)) return { text, href: text };
  if (/^[^\s@:]+@[^\s@:]+$/.test(text)) return { text, href: `mailto:${text}` };
  return { text };
}
