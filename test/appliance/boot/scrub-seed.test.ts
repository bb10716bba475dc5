import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { scrubSeed } from '../../../appliance/boot/scrub-seed.ts';
import { parseConfigText } from '../../../appliance/contract/config.ts';

const scrub = (text: string) => scrubSeed(text, parseConfigText(text));

describe('scrubSeed', () => {
  test('leaves comments and spacing of the author alone', () => {
    const text = `{
  // "dkimKey": "only a comment"
  "domain": "chat.example.org", /* mine */
  "comment": "it's \\"dkimKey\\": here",
  "secrets": { "dkimKey": "-----BEGIN\\nabc\\"def\\n" },
}
`;
    expect(scrub(text)).toBe(text.replace('"dkimKey": "-----BEGIN\\nabc\\"def\\n"', ''));
  });

  test('writes a plain document where the key cannot be cut out', () => {
    const text = '{"domain":"chat.example.org","secrets":{"dkimK\\u0065y":"SECRET"}}';
    expect(parseConfigText(text).secrets.dkimKey).toBe('SECRET');
    expect(scrub(text)).not.toContain('SECRET');
    expect(parseConfigText(scrub(text))).toEqual({ ...parseConfigText(text), secrets: {} });
  });

  test('cuts every secret, and finds the end of the credentials among braces and comments', () => {
    const text = `{ "domain": "chat.example.org", "secrets": {
  "dnsCredentials": { /* } */ "DESEC_TOKEN": "SECRET}\\"1", // } "
    "HCLOUD_TOKEN" /* { */ : "SECRET2" },
  "dkimEd25519Key": "SECRET3", // mine
  "dkimKey": "SECRET4"
}, "dns": { "provider": "desec" } }`;
    expect(scrub(text)).toBe(
      '{ "domain": "chat.example.org", "secrets": {\n  \n   // mine\n  \n}, "dns": { "provider": "desec" } }',
    );
  });

  test('cuts the Wi-Fi password out of a file from a Windows editor, byte-order mark and all', () => {
    const text =
      '\uFEFF{\r\n  // at home\r\n  "domain": "chat.example.org",\r\n  "network": { "wifi": { "ssid": "wifiPassword", "country": "DE" } }, // mine\r\n  "secrets": {\r\n    "wifiPassword": "it\\"s \\\\ mine", // of the router\r\n  },\r\n}\r\n';
    expect(scrub(text)).toBe(text.replace('"wifiPassword": "it\\"s \\\\ mine",', ''));
  });

  test('never leaves the secret, never changes anything else', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 8, maxLength: 50 }),
        fc.constantFrom('', ' ', '\n  ', '/* c */'),
        fc.constantFrom('', ','),
        (secret, space, comma) => {
          const dkimKey = JSON.stringify(`KEY-${secret}-KEY`);
          const text = `{"secrets":{${space}"dkimKey":${space}${dkimKey}${comma}${space}},"domain":"a.example"${comma}}`;
          const clean = scrub(text);
          expect(clean).not.toContain(dkimKey.slice(1, -1));
          expect(parseConfigText(clean)).toEqual({ ...parseConfigText(text), secrets: {} });
        },
      ),
    );
  });
});
