/** What the pages say, in each language. A text with a figure in it is a function, so that plurals are right. */
import type { Language } from './language.ts';
import { de } from './texts/de.ts';
import { en } from './texts/en.ts';
import { es } from './texts/es.ts';

/** A heading and what follows it. */
export interface Section {
  readonly heading: string;
  readonly paragraphs: readonly string[];
}

export interface Texts {
  /** The language's own name. */
  readonly name: string;
  readonly navigation: { readonly label: string; readonly languages: string };
  readonly start: {
    readonly label: string;
    readonly description: string;
    readonly lead: string;
    readonly invite: string;
    readonly steps: {
      readonly app: readonly [title: string, text: string];
      readonly scan: readonly [title: string, text: string];
      readonly chat: readonly [title: string, text: string];
    };
    readonly codeLabel: string;
    readonly open: string;
    readonly copy: string;
    /** The code gives an account away. */
    readonly once: string;
    readonly selfSigned: string;
    readonly print: string;
    readonly what: string;
    readonly points: (days: number) => readonly (readonly [title: string, text: string])[];
    readonly comment: string;
    readonly needsInvite: Section;
    readonly closed: Section;
  };
  readonly invitation: {
    readonly title: string;
    readonly lead: string;
    /** For whom the page has to make the account. */
    readonly make: string;
    readonly press: string;
    readonly makeText: string;
    readonly ready: string;
    readonly readyText: string;
    readonly address: string;
    readonly password: string;
  };
  readonly info: {
    readonly label: string;
    readonly lead: string;
    readonly accounts: string;
    readonly addresses: string;
    readonly join: string;
    readonly joinAs: { readonly open: string; readonly token: string; readonly closed: string };
    readonly inactive: string;
    readonly days: (days: number) => string;
    readonly messages: string;
    readonly encryption: string;
    readonly encryptionText: string;
    readonly largest: string;
    readonly space: string;
    readonly rate: string;
    readonly perMinute: (messages: number, recipients: number) => string;
    readonly deletion: string;
    readonly deletionText: (days: number, largeDays: number, largeKilobytes: number) => string;
    readonly servers: string;
    readonly serversText: string;
    readonly service: string;
    readonly host: string;
    readonly port: string;
    readonly certificate: string;
    readonly certificateText: { readonly vouched: string; readonly own: string };
    readonly contact: string;
  };
  readonly privacy: {
    readonly label: string;
    readonly lead: string;
    readonly sections: (figures: PrivacyFigures) => readonly Section[];
  };
  readonly problems: {
    readonly notFound: Section;
    readonly method: Section;
    readonly busy: Section;
    readonly failed: Section;
    readonly unavailable: Section;
    readonly request: Section;
    readonly back: string;
  };
  /** Why there is no account: for people, on a page. */
  readonly refusals: {
    readonly closed: Section;
    readonly missing: Section;
    readonly unknown: Section;
    readonly expired: Section;
    readonly usedUp: Section;
  };
}

export interface PrivacyFigures {
  readonly deleteAfterDays: number;
  readonly deleteLargeAfterDays: number;
  readonly largeKilobytes: number;
  readonly deleteInactiveDays: number;
  readonly pushTokenDays: number;
  readonly usesTokens: boolean;
}

export const texts: Readonly<Record<Language, Texts>> = { en, de, es };
