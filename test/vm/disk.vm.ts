/**
 * DATA on a machine: made and grown at the first start, kept ever after, repaired where it can be, and left
 * alone where it cannot. Each test goes on with the disk the one before has left.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempDisposable, open, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dataFormattedAttribute, partitionNames, sectorBytes } from '../../appliance/contract/disk-layout.ts';
import { superblockBytes, superblockOffsetBytes } from '../../appliance/disk/ext4.ts';
import { decodeGpt, encodeGpt, gptAreaSectors, type GptTable } from '../../appliance/disk/gpt.ts';
import { ImapClient, openTcp, SmtpClient, startTls } from '../oracles/mail-client.ts';
import { builtImage } from './built-image.ts';
import { encrypted } from './messages.ts';
import { hasQemu, startTestVm, type TestVm } from './qemu.ts';
import { waitUntil } from './relay-namespace.ts';

const domain = 'chat.test.example';
const password = 'correct-horse-battery';
const [alice, bob] = [`alice0001@${domain}`, `bob000001@${domain}`];
/** Everything runs on an emulated processor beside other work. */
const patienceMs = 300_000;
/** Above 512 MiB mke2fs(8) lays DATA out as on a real disk. */
const extraDiskBytes = 512 * 1024 * 1024;

function run(command: string, ...args: string[]): { readonly status: number | null; readonly text: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return { status, text: `${stdout}${stderr}` };
}

/** The disk a machine has left, as a plain file. */
function toRaw(persistDirectory: string, raw: string): void {
  const { status, text } = run('qemu-img', 'convert', '-O', 'raw', join(persistDirectory, 'disk.qcow2'), raw);
  if (status !== 0) throw new Error(text);
}

/** Disks are mostly holes. */
function copySparse(from: string, to: string): void {
  const { status, text } = run('cp', '--sparse=always', from, to);
  if (status !== 0) throw new Error(text);
}

async function readGpt(raw: string): Promise<GptTable> {
  await using file = await open(raw, 'r');
  const area = new Uint8Array(gptAreaSectors * sectorBytes);
  await file.read(area, 0, area.length, sectorBytes);
  return decodeGpt(area, 'primary');
}

async function dataPartition(raw: string) {
  const found = (await readGpt(raw)).partitions.find(({ name }) => name === partitionNames.data);
  if (found === undefined) throw new Error('There is no DATA');
  return { ...found, offsetBytes: found.firstSector * sectorBytes };
}

/** As dumpe2fs(8) sees it; offsets are from the start of the filesystem. */
function describeFilesystem(raw: string, offsetBytes: number) {
  const { text } = run('dumpe2fs', `${raw}?offset=${offsetBytes}`);
  const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1]);
  const blockBytes = number('Block size');
  return {
    sizeBytes: number('Block count') * blockBytes,
    backupOffsetsBytes: [...text.matchAll(/Backup superblock at (\d+)/g)].map(
      ([, block]) => Number(block) * blockBytes,
    ),
  };
}

/** e2fsck, which repairs nothing here, finds nothing to repair. */
async function expectCleanData(raw: string): Promise<void> {
  const { offsetBytes } = await dataPartition(raw);
  const checked = run('e2fsck', '-f', '-n', `${raw}?offset=${offsetBytes}`);
  expect(checked, checked.text).toMatchObject({ status: 0 });
  expect(checked.text).not.toContain('recovering journal');
}

async function overwrite(path: string, offsetBytes: number, bytes: Uint8Array): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.length, offsetBytes);
}

async function inbox(vm: TestVm, address: string, secret = password): Promise<ImapClient> {
  const client = new ImapClient(await startTls(await openTcp(vm.host, vm.ports.imaps), domain));
  await client.greeting();
  const reply = await client.login(address, secret);
  if (reply.status === 'OK') return client;
  client[Symbol.dispose]();
  throw new Error(reply.text);
}

async function countMessages(client: ImapClient): Promise<number> {
  return Number(/\* (\d+) EXISTS/.exec((await client.command('EXAMINE INBOX')).untagged)?.[1]);
}

async function waitForMessages(vm: TestVm, address: string, count: number): Promise<void> {
  using client = await inbox(vm, address);
  await waitUntil(
    async () => (await countMessages(client)) >= count,
    patienceMs,
    () => `${count} messages`,
  );
}

async function sender(vm: TestVm, address: string): Promise<SmtpClient> {
  const client = new SmtpClient(await startTls(await openTcp(vm.host, vm.ports.submissions), domain));
  await client.reply();
  await client.command('EHLO client.example');
  expect(await client.login(address, password)).toMatchObject({ code: 235 });
  return client;
}

describe.skipIf(!hasQemu && process.env.CI === undefined)('DATA', () => {
  const stack = new AsyncDisposableStack();
  let directory: string;
  let image: string;
  /** A disk in good order, with an account and a message. */
  let good: string;

  beforeAll(async () => {
    image = stack.use(await builtImage({ domain })).image;
    directory = stack.use(await mkdtempDisposable(join(tmpdir(), 'disk-'))).path;
    good = join(directory, 'good.img');
  });
  afterAll(() => stack.disposeAsync());

  test('is made to the end of the disk at the first start, and clean after the power button', async () => {
    const persistDirectory = join(directory, 'first');
    await using vm = await startTestVm(image, { persistDirectory, extraDiskBytes });
    await vm.waitForRelay(patienceMs);
    await vm.waitForConsole(/The disk has been set up/);
    (await inbox(vm, bob))[Symbol.dispose]();
    using smtp = await sender(vm, alice);
    expect(await smtp.send(alice, [bob], encrypted(alice))).toMatchObject({ code: 250 });
    await waitForMessages(vm, bob, 1);
    expect(await vm.powerOff()).toMatchObject({ reason: 'guest-shutdown' });

    toRaw(persistDirectory, good);
    const data = await dataPartition(good);
    expect(data.attributes & dataFormattedAttribute).not.toBe(0n);
    const dataBytes = (data.lastSector + 1 - data.firstSector) * sectorBytes;
    expect(dataBytes).toBeGreaterThan(extraDiskBytes);
    await expectCleanData(good);
    const filesystemBytes = describeFilesystem(good, data.offsetBytes).sizeBytes;
    expect(filesystemBytes).toBeLessThanOrEqual(dataBytes);
    expect(dataBytes - filesystemBytes).toBeLessThan(1024 * 1024);
  });

  test('is repaired where its superblock is lost, and keeps what was accepted when the plug is pulled', async () => {
    const damaged = join(directory, 'damaged.img');
    copySparse(good, damaged);
    const { offsetBytes } = await dataPartition(damaged);
    await overwrite(damaged, offsetBytes + superblockOffsetBytes, Buffer.alloc(superblockBytes, 0xff));
    const persistDirectory = join(directory, 'damaged');
    let accepted = 0;
    {
      await using vm = await startTestVm(damaged, { persistDirectory, extraDiskBytes: 0 });
      await vm.waitForRelay(patienceMs);
      await vm.waitForConsole(/The disk had errors, which were repaired/);
      await waitForMessages(vm, bob, 1);
      await expect(inbox(vm, bob, 'another-password')).rejects.toThrow('AUTHENTICATIONFAILED');
      (await inbox(vm, `carol0001@${domain}`))[Symbol.dispose]();
      using smtp = await sender(vm, alice);
      for (; accepted < 8; accepted++) {
        expect(await smtp.send(alice, [bob], encrypted(alice))).toMatchObject({ code: 250 });
      }
      await vm.kill();
    }
    {
      await using vm = await startTestVm(damaged, { persistDirectory, extraDiskBytes: 0 });
      await vm.waitForRelay(patienceMs);
      await waitForMessages(vm, bob, 1 + accepted);
      await expect(inbox(vm, `carol0001@${domain}`, 'another-password')).rejects.toThrow(
        'AUTHENTICATIONFAILED',
      );
      await vm.powerOff();
    }
    const after = join(directory, 'after.img');
    toRaw(persistDirectory, after);
    await expectCleanData(after);
  });

  test.each([
    {
      what: 'every superblock is lost',
      harm: async (disk: string) => {
        const { offsetBytes } = await dataPartition(disk);
        const { backupOffsetsBytes } = describeFilesystem(disk, offsetBytes);
        expect(backupOffsetsBytes.length).toBeGreaterThan(1);
        for (const offset of [superblockOffsetBytes, ...backupOffsetsBytes]) {
          await overwrite(disk, offsetBytes + offset, Buffer.alloc(superblockBytes, 0xff));
        }
      },
      problem: /PROBLEM +The filesystem on \/dev\/\w+4 is damaged beyond automatic repair/,
    },
    {
      what: 'there is no partition of that name',
      harm: async (disk: string) => {
        const table = await readGpt(disk);
        const partitions = table.partitions.map((one) =>
          one.name === partitionNames.data ? { ...one, name: 'OTHER' } : one,
        );
        const { primary, backup } = encodeGpt({
          ...table,
          partitions,
          diskSizeBytes: (await stat(disk)).size,
        });
        for (const { firstSector, bytes } of [primary, backup]) {
          await overwrite(disk, firstSector * sectorBytes, bytes);
        }
      },
      problem: /PROBLEM +There is no partition called DATA on the disk/,
    },
  ])('is left alone when $what, and the console says what to do', async ({ harm, problem }) => {
    const disk = join(directory, 'lost.img');
    copySparse(good, disk);
    await harm(disk);
    const persistDirectory = await mkdtempDisposable(join(directory, 'lost-'));
    await using vm = await startTestVm(disk, { persistDirectory: persistDirectory.path, extraDiskBytes: 0 });
    await vm.waitForConsole(problem, { timeoutMs: patienceMs });
    await vm.waitForConsole(/-> .*write the image/i);
    await vm.waitForConsole(/chatmail: none are running/);
    // It is up, and hears the power button.
    expect(await vm.powerOff()).toMatchObject({ reason: 'guest-shutdown' });
    const { text } = run('qemu-img', 'compare', '-F', 'raw', join(persistDirectory.path, 'disk.qcow2'), disk);
    expect(text).toContain('Images are identical');
  });
});
