import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../appliance/contract/config.ts';
import { readTemplates, renderConfiguration } from '../../appliance/render/render.ts';

const mebibyte = 1024 * 1024;
const templates = (await readTemplates(join(import.meta.dirname, '../../templates'))).filter(
  ({ folder }) => folder === 'postfix' || folder === 'dovecot',
);

async function render(document: object, memoryMebibytes = 1024): Promise<ReadonlyMap<string, string>> {
  const files = await renderConfiguration(
    parseConfig({ domain: 'chat.example.org', ...document }),
    { memoryBytes: memoryMebibytes * mebibyte, cpuCount: 2 },
    templates,
  );
  return new Map(files.map(({ path, text }) => [basename(path), text]));
}

const relays = [
  ['name', { comment: 'Say "hi"', adminContact: 'mailto:admin@example.org' }, 1024],
  ['ipv4-on-a-small-board', { domain: '192.0.2.1', network: { ipv6: 'off' } }, 420],
  ['ipv6-on-a-large-machine', { domain: '2001:db8::1' }, 4096],
] as const;

describe.each(relays)('mail core of a relay: %s', (label, document, memoryMebibytes) => {
  test.each(['main.cf', 'master.cf', 'dovecot.conf', 'auth.lua', 'push.lua'])('%s', async (name) => {
    const text = (await render(document, memoryMebibytes)).get(name);
    await expect(text).toMatchFileSnapshot(`../golden/mail-core/${label}/${name}`);
  });
});

describe('rules that no template may break', () => {
  test('every smtpd says for itself whom it relays for, and nobody else is served', async () => {
    const files = await render({});
    expect(files.get('main.cf')).toMatch(/^smtpd_relay_restrictions = reject$/m);
    expect(files.get('main.cf')).toMatch(/^mynetworks =$/m);
    const services = (files.get('master.cf') ?? '').split(/^(?=\S)/m).filter((text) => / smtpd$/m.test(text));
    expect(services).toHaveLength(5);
    for (const service of services) {
      expect(service).toMatch(
        /^(?:25|127\.0\.0\.1:10025) /.test(service)
          ? /smtpd_relay_restrictions=reject_unauth_destination$/m
          : /smtpd_relay_restrictions=permit_sasl_authenticated,reject$/m,
      );
    }
  });

  test('only those who signed in over TLS may submit, and only as themselves', async () => {
    const files = await render({});
    expect(files.get('main.cf')).toMatch(/^smtpd_tls_auth_only = yes$/m);
    expect(files.get('main.cf')).toMatch(/^smtpd_tls_security_level = encrypt$/m);
    const submission = (files.get('master.cf') ?? '')
      .split(/^(?=\S)/m)
      .filter((text) => /sasl_auth/.test(text));
    expect(submission).toHaveLength(3);
    for (const service of submission) {
      expect(service).toContain('reject_sender_login_mismatch');
      expect(service).toContain('milter_macro_daemon_name=ORIGINATING');
      expect(service).toContain('cleanup_service_name=authclean');
    }
  });

  test('a comment cannot add a setting to Dovecot', async () => {
    const text = (await render({ comment: 'a" \\ $SET:x %{user} # { }' })).get('dovecot.conf');
    expect(text).toContain('mail_server_comment = "a\\" \\\\ $SET:x %%{user} # { }"');
  });
});
