/**
 * The whole promise once more, on the other processor: the arm64 image boots by UEFI, two people meet in it
 * and talk, and it switches itself off. One boot: an arm64 processor is emulated on most hosts.
 */
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BuiltImage, builtImage } from './built-image.ts';
import { befriend, type Friends } from './chat.ts';
import { startTestVm, type TestVm } from './qemu.ts';
import { signIn } from './sign-in.ts';

const domain = 'chat.test.example';
const hasQemu = spawnSync('qemu-system-aarch64', ['--version']).error === undefined;

/** Ready after one minute on a quiet host; everything takes longer beside other work. */
const patienceMs = 600_000;

describe.skipIf(!hasQemu && !process.env['CI'])('an image on an arm64 machine', () => {
  const stack = new AsyncDisposableStack();
  let image: BuiltImage;
  let vm: TestVm;
  let friends: Friends;

  beforeAll(async () => {
    image = stack.use(await builtImage({ domain, target: 'vm-arm64' }));
    vm = stack.use(
      await startTestVm(image.image, { architecture: 'aarch64', firmware: 'uefi', accelerator: 'tcg' }),
    );
    await vm.waitForRelay(patienceMs);
  });
  afterAll(() => stack.disposeAsync());

  test('starts from slot a, with every module it wants', () => {
    expect(vm.text).toMatch(/initramfs started[^]*slot a on vda/);
    expect(vm.text).not.toMatch(/module \S+ did not load|Kernel panic|Oops|BUG:/);
  });

  test('gives accounts to two people who sign in, and they verify each other', async () => {
    const person = async (localpart: string) =>
      stack.use(await signIn({ vm, domain, localpart, timeoutMs: patienceMs }));
    friends = await befriend(await person('alice0001'), await person('bob000001'));
    expect(await friends.alice.isChatmail()).toBe(true);
  });

  test('carries messages both ways', async () => {
    const { alice, bob, alicesChat, bobsChat } = friends;
    for (const text of ['one', 'two', 'three']) {
      await alice.sendText(alicesChat, `alice ${text}`);
      expect((await bob.receive(`alice ${text}`)).showPadlock).toBe(true);
      await bob.sendText(bobsChat, `bob ${text}`);
      expect((await alice.receive(`bob ${text}`)).showPadlock).toBe(true);
    }
  });

  test('says on the console that all its services and its disk are well', async () => {
    await vm.waitForConsole(/^chatmail: ready/m);
    expect(vm.text).toMatch(/The disk has been set up/);
    for (const service of ['chrony', 'unbound', 'relay', 'dovecot', 'postfix', 'edge']) {
      expect(vm.text).toMatch(new RegExp(`${service} +ok`));
    }
  });

  test('switches itself off in good order at the power button', async () => {
    expect(await vm.powerOff(patienceMs)).toMatchObject({ reason: 'guest-shutdown' });
  });
});
