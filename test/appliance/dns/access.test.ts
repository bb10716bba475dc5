import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { dnsProviderNames, parseConfig } from '../../../appliance/contract/config.ts';
import { openDnsAccess } from '../../../appliance/dns/access.ts';
import { providers } from '../../../appliance/dns/providers/index.ts';

describe('openDnsAccess', () => {
  const open = async (document: object, credentials?: string) => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'access-'));
    const credentialsPath = join(directory.path, 'dns-credentials.json');
    if (credentials !== undefined) await writeFile(credentialsPath, credentials);
    return await openDnsAccess({
      config: parseConfig({ domain: 'chat.example.org', ...document }),
      credentialsPath,
    });
  };
  const desec = { dns: { provider: 'desec' } };

  test('is null where no provider is named, and for a relay at an address', async () => {
    expect(await open({})).toBeNull();
    expect(await open({ ...desec, domain: '192.0.2.1' }, '{"DESEC_TOKEN":"x"}')).toBeNull();
  });

  test('makes a client of what is on DATA', async () => {
    const access = await open(desec, '{"DESEC_TOKEN":"the-token"}');
    expect(access?.provider.minimumTtlSec).toBe(3600);
    expect(access?.lookup.resolvers).toEqual([{ address: '127.0.0.1', port: 53 }]);
  });

  test.each([undefined, '', '{"DESEC_TOKEN":" "}', '{"DESEC_TOKEN":["the-token"]}', '["the-token"'])(
    'says which credential is missing, and shows none: %s',
    async (credentials) => {
      await expect(open(desec, credentials)).rejects.toMatchObject({
        code: 'config',
        message: 'The device lacks DESEC_TOKEN for deSEC',
      });
    },
  );
});

test('the configuration names every provider there is', () => {
  expect(providers.map(({ name }) => name)).toEqual([...dnsProviderNames]);
});
