import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseDomain } from '../../appliance/contract/domain.ts';
import { dcloginUri, inviteUri, makeInviteAccount } from '../../appliance/contract/invite.ts';
import { DeltaChat } from '../oracles/delta-chat.ts';
import { builtRoot } from './built-image.ts';
import { befriend, exchangeTenMessages, type Friends, readReceipt, sendFile } from './chat.ts';
import { relayAddress, RelayNamespace } from './relay-namespace.ts';

describe.each([
  ['a name', 'chat.test.example'],
  ['an IPv4 address', relayAddress],
])('two Delta Chat clients on a relay whose domain is %s', (_, domain) => {
  const stack = new AsyncDisposableStack();
  let friends: Friends;
  let clientNetns: string;

  beforeAll(async () => {
    const relay = stack.use(
      await RelayNamespace.start({ rootImage: (await builtRoot()).path, config: { domain } }),
    );
    clientNetns = relay.clientNetns;
    const person = async (localpart: string) => {
      const core = stack.use(await DeltaChat.start({ netns: relay.clientNetns }));
      await core.configure({
        address: `${localpart}@${domain === relayAddress ? `[${domain}]` : domain}`,
        password: `secret-of-${localpart}`,
        imap: { host: relayAddress, port: 993, security: 'ssl' },
        smtp: { host: relayAddress, port: 465, security: 'ssl' },
        acceptInvalidCertificates: true,
      });
      return core;
    };
    friends = await befriend(await person('alice0001'), await person('bob000001'));
  });
  afterAll(() => stack.disposeAsync());

  test('let somebody in by an invitation', async () => {
    // Here a name leads nowhere: its servers are told apart from it.
    const servers = { host: relayAddress, imaps: 993, submissions: 465 };
    const account = makeInviteAccount(randomBytes(40));
    const invitation =
      domain === relayAddress
        ? inviteUri(parseDomain(domain), account, false)
        : dcloginUri(parseDomain(domain), account, servers);
    await using guest = await DeltaChat.start({ netns: clientNetns });
    await guest.configureFromInvite(invitation);
    expect(await guest.address()).toContain(domain);
  });

  test('find a chatmail relay', async () => {
    expect(await friends.alice.isChatmail()).toBe(true);
  });

  test('exchange ten messages each way', () => exchangeTenMessages(friends));

  test('send a file of 3 MB', () => sendFile(friends));

  test('see read receipts', () => readReceipt(friends));
});
