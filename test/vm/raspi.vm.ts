/**
 * The card for Raspberry Pis in the one board that QEMU can stand in for: kernel, initramfs, device tree and
 * command line come out of the finished image, the rest from the emulated card. One boot: a Pi is emulated
 * on every host.
 */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeLock } from '../../builder/packages/lockfile.ts';
import { ImapClient, openTcp, SmtpClient, startTls } from '../oracles/mail-client.ts';
import { type BuiltImage, builtImage } from './built-image.ts';
import { encrypted } from './messages.ts';
import { bootOfCard, type CardBoot, hasRaspi3b, type Raspi3b, readCard, startRaspi3b } from './raspi3b.ts';

const domain = 'chat.test.example';
const password = 'correct-horse-battery';
const [alice, bob] = [`alice0001@${domain}`, `bob000001@${domain}`];

/** Ready after less than two minutes on a quiet host; everything takes longer beside other work. */
const patienceMs = 600_000;

describe.skipIf(!hasRaspi3b && !process.env['CI'])('a card in a Raspberry Pi 3B', () => {
  const stack = new AsyncDisposableStack();
  let image: BuiltImage;
  let files: ReadonlyMap<string, Uint8Array>;
  let boot: CardBoot;
  let board: Raspi3b;

  beforeAll(async () => {
    image = stack.use(await builtImage({ domain, target: 'rpi-arm64' }));
    files = await readCard(image.image);
    boot = bootOfCard(files, 'bcm2837-rpi-3-b.dtb');
    // QEMU's watchdog has no timer: it resets the board as soon as it is opened. And on a busy host a
    // processor that sleeps may miss that there is work for it, until its next tick: let it tick.
    const commandLine = `${boot.commandLine} chatmail.watchdog=off nohz=off`;
    board = stack.use(await startRaspi3b(image.image, { ...boot, commandLine }));
    await board.waitForRelay(patienceMs);
  });
  afterAll(() => stack.disposeAsync());

  async function inbox(address: string): Promise<ImapClient> {
    const client = new ImapClient(await startTls(await openTcp(board.host, board.ports.imaps), domain));
    await client.greeting();
    expect(await client.login(address, password)).toMatchObject({ status: 'OK' });
    return client;
  }

  test('starts from slot a on the card, with every module it wants', () => {
    const { text } = board.machine.console;
    expect(text).toMatch(/initramfs started[^]*slot a on mmcblk0/);
    expect(text).not.toMatch(/module \S+ did not load|Kernel panic|Oops|BUG:/);
  });

  test('gives accounts to two people who sign in, and carries a message from one to the other', async () => {
    using bobs = await inbox(bob);
    (await inbox(alice))[Symbol.dispose]();
    using smtp = new SmtpClient(await startTls(await openTcp(board.host, board.ports.submissions), domain));
    await smtp.reply();
    await smtp.command('EHLO client.example');
    expect(await smtp.login(alice, password)).toMatchObject({ code: 235 });
    expect(await smtp.send(alice, [bob], encrypted(alice, '...'))).toMatchObject({ code: 250 });
    await expect
      .poll(async () => (await bobs.command('EXAMINE INBOX')).untagged, {
        timeout: patienceMs,
        interval: 500,
      })
      .toMatch(/\* 1 EXISTS/);
    const { untagged } = await bobs.command('FETCH 1 BODY.PEEK[HEADER.FIELDS (FROM)]');
    expect(untagged).toContain(alice);
  });

  test('has its own disk, and a time that is not before its own making, without any clock', async () => {
    await board.waitForConsole(/^chatmail: ready/m, patienceMs);
    const { text } = board.machine.console;
    expect(text).toMatch(/The disk has been set up/);
    for (const service of ['chrony', 'unbound', 'relay', 'dovecot', 'postfix']) {
      expect(text).toMatch(new RegExp(`${service} +ok`));
    }
    const { suites } = decodeLock(await readFile(image.lockFile, 'utf8'), image.lockFile);
    using bobs = await inbox(bob);
    await bobs.command('EXAMINE INBOX');
    const { untagged } = await bobs.command('FETCH 1 INTERNALDATE');
    const deliveredAt = Date.parse(/INTERNALDATE "([^"]+)"/.exec(untagged)?.[1] ?? '');
    expect(deliveredAt).toBeGreaterThanOrEqual(Math.max(...suites.map(({ date }) => Date.parse(date))));
  });

  test('brings firmware, its licence and the device trees of every board', () => {
    for (const name of ['bootcode.bin', 'start.elf', 'fixup.dat', 'start4.elf', 'fixup4.dat']) {
      expect(files.get(name)?.length).toBeGreaterThan(1000);
    }
    const licence = Buffer.from(files.get('LICENCE-raspi-firmware.txt') ?? []).toString();
    expect(licence).toContain('running or using a Raspberry Pi device');
    expect(boot.commandLine).toContain('console=ttyS1,115200');
  });
});
