import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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

  beforeAll(async () => {
    const relay = stack.use(
      await RelayNamespace.start({ rootImage: (await builtRoot()).path, config: { domain } }),
    );
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

  test('find a chatmail relay', async () => {
    expect(await friends.alice.isChatmail()).toBe(true);
  });

  test('exchange ten messages each way', () => exchangeTenMessages(friends));

  test('send a file of 3 MB', () => sendFile(friends));

  test('see read receipts', () => readReceipt(friends));
});
