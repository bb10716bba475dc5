import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import {
  autoconfigXml,
  autodiscoverAddress,
  autodiscoverXml,
  escapeXml,
} from '../../../appliance/web/autoconfig.ts';
import { assertWellFormed } from './well-formed.ts';

const domain = parseDomain('chat.example.org');
const withoutProlog = (xml: string) => xml.replace(/^<\?xml [^>]*>\n/, '').replaceAll('xmlns', 'x');

describe('autoconfigXml', () => {
  test('names every way in, in the order in which clients should try them', () => {
    const xml = autoconfigXml(domain);
    const found = [
      ...xml.matchAll(/type="(\w+)">\s*<hostname>(.*)<\/hostname>\s*<port>(\d+)<.*\s*<socketType>(\w+)</g),
    ];
    expect(found.map((match) => match.slice(1).join(' '))).toEqual([
      'imap chat.example.org 993 SSL',
      'imap chat.example.org 143 STARTTLS',
      'imap chat.example.org 443 SSL',
      'smtp chat.example.org 465 SSL',
      'smtp chat.example.org 587 STARTTLS',
      'smtp chat.example.org 443 SSL',
    ]);
    expect(xml.match(/<username>%EMAILADDRESS%<\/username>/g)).toHaveLength(6);
    expect(xml.match(/<authentication>password-cleartext<\/authentication>/g)).toHaveLength(6);
  });

  test('keeps address literals as mail has them, and host names bare', () => {
    const xml = autoconfigXml(parseDomain('2001:db8::1'));
    expect(xml).toContain('<domain>[IPv6:2001:db8::1]</domain>');
    expect(xml).toContain('<hostname>2001:db8::1</hostname>');
  });
});

describe('autodiscover', () => {
  const request = (address: string) =>
    `<?xml version="1.0"?><Autodiscover xmlns="x"><Request><EMailAddress>${address}</EMailAddress></Request></Autodiscover>`;

  test('finds the address in a request', () => {
    expect(autodiscoverAddress(request('alice@chat.example.org'))).toBe('alice@chat.example.org');
    expect(autodiscoverAddress(request(' a&amp;b@x '))).toBe('a&b@x');
    expect(autodiscoverAddress('<a:EMailAddress>alice@x</a:EMailAddress>')).toBe('alice@x');
    expect(autodiscoverAddress(request(''))).toBeNull();
    expect(autodiscoverAddress(request('a'.repeat(1025)))).toBeNull();
    expect(autodiscoverAddress('<EMailAddress>alice')).toBeNull();
  });

  test('is done at once with what has no end', () => {
    const started = performance.now();
    for (const filling of [' ', ' a', '<EMailAddress>', '<EMailAddress> ']) {
      const body = `<EMailAddress>${filling.repeat(4000)}`.slice(0, 4096);
      expect(autodiscoverAddress(`${body}<`)).toBeNull();
    }
    // Backtracking took many seconds.
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('answers with the address as text, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (address) => {
        const xml = autodiscoverXml(domain, `<${address}"&'>`);
        expect(() => assertWellFormed(withoutProlog(xml).replaceAll('&apos;', '&#39;'))).not.toThrow();
        // oxlint-disable-next-line no-control-regex
        expect(xml.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\ufffe\uffff]/);
      }),
    );
  });

  test('names the servers', () => {
    const xml = autodiscoverXml(domain, 'alice@chat.example.org');
    expect(xml.match(/<LoginName>alice@chat.example.org<\/LoginName>/g)).toHaveLength(4);
    expect([...xml.matchAll(/<Port>(\d+)</g)].map(([, port]) => port)).toEqual(['993', '143', '465', '587']);
  });
});

describe('escapeXml', () => {
  test('leaves nothing that means something', () => {
    expect(escapeXml(`<a b="c" d='e'>&`)).toBe('&lt;a b=&quot;c&quot; d=&apos;e&apos;&gt;&amp;');
  });
});
