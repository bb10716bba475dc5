/**
 * The whole promise: one command builds an image, the image boots on an empty machine, two people get
 * accounts by signing in, verify each other and talk, and after a restart all of it is still there.
 */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseDomain } from '../../appliance/contract/domain.ts';
import { dcloginUri, makeInviteAccount } from '../../appliance/contract/invite.ts';
import { DeltaChat } from '../oracles/delta-chat.ts';
import { ImapClient, openTcp, SmtpClient, startTls } from '../oracles/mail-client.ts';
import { type BuiltImage, builtImage } from './built-image.ts';
import { befriend, exchangeTenMessages, type Friends, readReceipt, sendFile } from './chat.ts';
import { startTestVm, type TestVm } from './qemu.ts';
import { signIn } from './sign-in.ts';

const domain = 'chat.test.example';

/** Everything here runs on an emulated processor beside other work. */
const patienceMs = 300_000;

const person = (vm: TestVm, localpart: string): Promise<DeltaChat> =>
  signIn({ vm, domain, localpart, timeoutMs: patienceMs });

describe('an image on a machine started by its BIOS', () => {
  const stack = new AsyncDisposableStack();
  let image: BuiltImage;
  let vm: TestVm;
  let friends: Friends;

  beforeAll(async () => {
    image = stack.use(await builtImage({ domain }));
    vm = stack.use(await startTestVm(image.image, { firmware: 'bios' }));
    await vm.waitForRelay(patienceMs);
  });
  afterAll(() => stack.disposeAsync());

  test('gives accounts to two people who sign in, and they verify each other', async () => {
    const alice = stack.use(await person(vm, 'alice0001'));
    const bob = stack.use(await person(vm, 'bob000001'));
    friends = await befriend(alice, bob);
    expect(await alice.isChatmail()).toBe(true);
  });

  test('carries ten messages each way', () => exchangeTenMessages(friends));

  test('carries a file of 3 MB', () => sendFile(friends));

  test('carries read receipts', () => readReceipt(friends));

  test('shows who it is, its services and the invitation on the console', async () => {
    await vm.waitForConsole(/^chatmail: ready/m);
    for (const line of [
      `Chatmail relay ${domain}`,
      /^ {2}postfix +ok/m,
      /^ {2}dovecot +ok/m,
      /^ {2}relay +ok/m,
      /dclogin:[a-z0-9]{9}@chat\.test\.example\?p=/,
      '█▀▀▀▀▀█',
    ]) {
      expect(vm.text).toMatch(line);
    }
  });

  test('lets somebody in by an invitation', async () => {
    const invitation = dcloginUri(parseDomain(domain), makeInviteAccount(randomBytes(40)), {
      host: vm.host,
      imaps: vm.ports.imaps,
      submissions: vm.ports.submissions,
    });
    await using guest = await DeltaChat.start({ timeoutMs: patienceMs });
    await guest.configureFromInvite(invitation);
    expect(await guest.address()).toMatch(/@chat\.test\.example$/);
  });

  test('refuses through its own ports what a relay must refuse', async () => {
    using stranger = new SmtpClient(await openTcp(vm.host, vm.ports.smtp));
    expect(await stranger.reply()).toMatchObject({ code: 220 });
    expect(await stranger.command('EHLO mx.example.net')).toMatchObject({ code: 250 });
    expect(await stranger.command('MAIL FROM:<a@example.net>')).toMatchObject({ code: 530 });
    await stranger.command('STARTTLS');
    await stranger.secure(domain);
    await stranger.command('EHLO mx.example.net');
    expect(await stranger.send('a@example.net', ['b@example.org'], 'x')).toMatchObject({ code: 554 });
    using thief = new ImapClient(await startTls(await openTcp(vm.host, vm.ports.imaps), domain));
    expect(await thief.greeting()).toContain('XCHATMAIL');
    expect((await thief.login(`alice0001@${domain}`, 'not-her-password')).status).toBe('NO');
  });

  test('has everything after a restart', async () => {
    const from = vm.position;
    await vm.reboot();
    await vm.waitForConsole(/^chatmail: ready/m, { from, timeoutMs: patienceMs });
    await vm.waitForRelay(patienceMs);
    using known = new ImapClient(await startTls(await openTcp(vm.host, vm.ports.imaps), domain));
    await known.greeting();
    expect((await known.login(`alice0001@${domain}`, 'not-her-password')).status).toBe('NO');
    // Nothing tells a client that the other end has been reset; by itself it finds out in five minutes.
    await Promise.all([friends.alice.reconnect(), friends.bob.reconnect()]);
    await friends.alice.sendText(friends.alicesChat, 'still there?');
    expect((await friends.bob.receive('still there?')).showPadlock).toBe(true);
    await friends.bob.sendText(friends.bobsChat, 'still here');
    expect((await friends.alice.receive('still here')).showPadlock).toBe(true);
  });

  test('switches itself off in good order at the power button', async () => {
    await vm.powerOff(patienceMs);
    await expect(
      new Promise((resolve, reject) => {
        connect({ host: vm.host, port: vm.ports.smtp }).once('connect', resolve).once('error', reject);
      }),
    ).rejects.toThrow();
  });
});

describe('the same image on a machine started by UEFI', () => {
  test('gets as far as an answering relay', async () => {
    await using image = await builtImage({ domain });
    await using vm = await startTestVm(image.image, { firmware: 'uefi' });
    await vm.waitForRelay(patienceMs);
    await vm.waitForConsole(/^chatmail: ready/m);
    await vm.powerOff(patienceMs);
  });
});
