/** An invite token, from the code that is scanned to the account that chats: the real relay, the real app. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseDomain } from '../../appliance/contract/domain.ts';
import { tokenInviteUri } from '../../appliance/contract/invite.ts';
import { DeltaChat } from '../oracles/delta-chat.ts';
import { builtRoot } from './built-image.ts';
import { relayAddress, RelayNamespace } from './relay-namespace.ts';

/** The app takes a name with a leading underscore for one whose certificate nobody signs. */
const domain = '_chat.test.example';
const token = 'for-two-friends';

describe('an invitation by token', () => {
  let relay: RelayNamespace;
  let hostsDirectory: string;

  beforeAll(async () => {
    relay = await RelayNamespace.start({
      rootImage: (await builtRoot()).path,
      config: { domain, accounts: { create: 'token', tokens: [{ token }] } },
    });
    // ip-netns(8): what is there is mounted over /etc for who runs in the namespace.
    hostsDirectory = join('/etc/netns', relay.clientNetns);
    await mkdir(hostsDirectory, { recursive: true });
    await writeFile(join(hostsDirectory, 'hosts'), `127.0.0.1 localhost\n${relayAddress} ${domain}\n`);
  });
  afterAll(async () => {
    await relay?.[Symbol.asyncDispose]();
    await rm(hostsDirectory, { recursive: true, force: true });
  });

  const scan = async (uri: string): Promise<DeltaChat> => {
    const app = await DeltaChat.start({ netns: relay.clientNetns });
    try {
      await app.configureFromInvite(uri);
      return app;
    } catch (error) {
      await app[Symbol.asyncDispose]();
      throw error;
    }
  };

  test('gives one app an account that the relay has made, and tells the next why it gets none', async () => {
    const uri = tokenInviteUri(parseDomain(domain), token);
    await using first = await scan(uri);
    expect(await first.address()).toMatch(/^[a-z2-9]{9}@_chat\.test\.example$/);
    expect(await first.isChatmail()).toBe(true);
    await expect(scan(uri)).rejects.toThrow(/Used already/);
  });

  test('is needed: an app that makes up its account is not let in', async () => {
    await using app = await DeltaChat.start({ netns: relay.clientNetns });
    const server = (port: number) => ({ host: relayAddress, port, security: 'ssl' }) as const;
    await expect(
      app.configure({
        address: `stranger1@${domain}`,
        password: 'long-enough-for-any-relay',
        imap: server(993),
        smtp: server(465),
        acceptInvalidCertificates: true,
      }),
    ).rejects.toThrow();
  });

  test('with a word wrong gives nothing', async () => {
    await expect(scan(tokenInviteUri(parseDomain(domain), 'for-two-fiends'))).rejects.toThrow(
      /Unknown invitation/,
    );
  });
});
