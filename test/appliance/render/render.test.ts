import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { readTemplates, renderConfiguration } from '../../../appliance/render/render.ts';

const templates = await readTemplates(fileURLToPath(new URL('../../../templates', import.meta.url)));
const machine = { memoryBytes: 1024 ** 3, cpuCount: 2 };
const render = async (document: object) => {
  const files = await renderConfiguration(
    parseConfig({ domain: 'chat.example.org', ...document }),
    machine,
    templates,
  );
  return (path: string) => files.find((file) => file.path === path)?.text ?? `no ${path}`;
};

describe('renderConfiguration', () => {
  test('renders every template of every service for every kind of domain', async () => {
    for (const domain of ['chat.example.org', '_chat.example.org', '192.0.2.1', '2001:db8::1']) {
      const files = await renderConfiguration(parseConfig({ domain }), machine, templates);
      for (const path of [
        '/run/postfix/main.cf',
        '/run/postfix/master.cf',
        '/run/dovecot-config/dovecot.conf',
        '/run/unbound/unbound.conf',
        '/run/chrony/chrony.conf',
        '/run/hosts',
        '/run/hostname',
      ]) {
        expect(files.map((file) => file.path)).toContain(path);
      }
      for (const { text } of files) expect(text).not.toMatch(/undefined|\[object|<%/);
    }
  });

  test('says which template is wrong', async () => {
    const broken = [{ folder: 'postfix', name: 'main.cf', source: 'x = <%- config.mial.size %>' }];
    await expect(
      renderConfiguration(parseConfig({ domain: 'chat.example.org' }), machine, broken),
    ).rejects.toThrow('postfix/main.cf');
  });

  test('asks the root servers itself unless there are forwarders', async () => {
    expect((await render({}))('/run/unbound/unbound.conf')).not.toContain('forward-zone');
    const forwarding = await render({ network: { forwarders: ['9.9.9.9', '2620:fe::fe'], ipv6: 'off' } });
    expect(forwarding('/run/unbound/unbound.conf')).toContain(
      'forward-zone:\n  name: "."\n  forward-addr: 9.9.9.9\n  forward-addr: 2620:fe::fe\n',
    );
    expect(forwarding('/run/unbound/unbound.conf')).toContain('do-ip6: no');
  });

  test('asks the time servers of the configuration', async () => {
    const text = (await render({ network: { ntpServers: ['ntp.example.org'] } }))('/run/chrony/chrony.conf');
    expect(text).toMatch(/^pool ntp\.example\.org iburst maxsources 2$/m);
    expect(text).not.toContain('debian.pool');
  });

  test('gives a machine named by an address a name that programs accept', async () => {
    expect((await render({ domain: '2001:db8::1' }))('/run/hostname')).toBe('chatmail.internal\n');
    expect((await render({}))('/run/hostname')).toBe('chat.example.org\n');
  });
});
