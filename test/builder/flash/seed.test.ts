/** Settings given while flashing: what is on the card, and that it is compared with what it should be. */
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { encodeGpt, partitionTypes } from '../../../appliance/disk/gpt.ts';
import { type BlockDevice, openBlockDevice } from '../../../builder/flash/block-device.ts';
import { planFat32 } from '../../../builder/formats/fat/plan.ts';
import { writeFat32 } from '../../../builder/formats/fat/write.ts';
import { bytesContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { readVolume } from '../formats/fat/read-volume.ts';
import { flash, mebibyte, stick } from './sample.ts';

const bootMib = { start: 1, size: 34 };
const seed = { domain: 'chat.example.org', mail: { quotaBytes: 1_000_000_000 }, secrets: { dkimKey: 'KEY' } };

/** An image whose BOOT has a real volume with a seed on it; everything else is empty. */
async function imageWith(text: string | undefined): Promise<Buffer> {
  const image = Buffer.alloc(45 * mebibyte);
  const sizes = {
    BOOT: bootMib,
    'ROOT-A': { start: 35, size: 3 },
    'ROOT-B': { start: 38, size: 3 },
    DATA: { start: 41, size: 3 },
  };
  const partitions = Object.entries(sizes).map(([name, { start, size }], index) => ({
    number: index + 1,
    name,
    typeGuid: partitionTypes.linuxFilesystem,
    guid: `00000000-0000-4000-8000-00000000000${index + 1}`,
    firstSector: start * 2048,
    lastSector: (start + size) * 2048 - 1,
    attributes: 0n,
  }));
  const diskGuid = '00000000-0000-4000-8000-000000000000';
  const { primary, backup } = encodeGpt({ diskGuid, partitions, diskSizeBytes: image.length });
  for (const { firstSector, bytes } of [primary, backup]) image.set(bytes, firstSector * 512);
  const own = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 1_800_000_000 };
  const entries: TreeEntry[] = [
    { ...own, path: 'kernel.img', kind: 'file', content: bytesContent(Buffer.alloc(3_000_000, 'kernel')) },
  ];
  if (text !== undefined) {
    entries.push({ ...own, path: 'chatmail.json', kind: 'file', content: bytesContent(Buffer.from(text)) });
  }
  const plan = planFat32(entries, {
    sizeBytes: bootMib.size * mebibyte,
    clusterBytes: 512,
    volumeId: 1,
    label: 'BOOT',
    hiddenSectors: 2048,
  });
  const sink = {
    sizeBytes: bootMib.size * mebibyte,
    writeAt: async (offset: number, bytes: Uint8Array) => image.set(bytes, bootMib.start * mebibyte + offset),
  };
  await writeFat32(plan, sink, new AbortController().signal);
  return image;
}

async function place(image: Buffer, { name = 'chat.example.org-rpi-arm64.img' } = {}) {
  const scratch = await mkdtempDisposable(join(tmpdir(), 'flash-seed-'));
  const path = join(scratch.path, name);
  const device = join(scratch.path, 'device');
  await writeFile(path, name.endsWith('.zst') ? zstdCompressSync(image) : image);
  // A used card: full of something else.
  await writeFile(device, Buffer.alloc(image.length + mebibyte, 0xa5));
  const disk = stick(device, image.length + mebibyte);
  return {
    path,
    directory: scratch.path,
    world: (change: (real: BlockDevice) => Partial<BlockDevice> = () => ({})) => ({
      platform: 'linux' as const,
      listDisks: async () => [disk],
      openDevice: async () => {
        const real = await openBlockDevice(disk, 'linux');
        return { ...real, [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](), ...change(real) };
      },
      eject: async () => true,
    }),
    /** What a reader of the card sees on BOOT. */
    boot: async () => {
      const content = await readFile(device);
      return readVolume(
        content.subarray(bootMib.start * mebibyte, (bootMib.start + bootMib.size) * mebibyte),
      );
    },
    [Symbol.asyncDispose]: () => scratch.remove(),
  };
}

const seedOf = ({ entries }: Awaited<ReturnType<Awaited<ReturnType<typeof place>>['boot']>>) =>
  Buffer.from(entries.find(({ path }) => path === 'chatmail.json')?.bytes ?? []).toString();

describe('flash with settings', () => {
  test.each(['chat.example.org-rpi-arm64.img', 'chat.example.org-rpi-arm64.img.zst'])(
    'puts them on the card, and leaves %s as it is',
    async (name) => {
      const image = await imageWith(`// mine\n${JSON.stringify(seed)}\n`);
      await using at = await place(image, { name });
      const before = await readFile(at.path);
      await writeFile(join(at.directory, 'password'), 'the pass phrase\n');
      const args = ['--wifi', 'Home', '--wifi-country', 'de', '--wifi-password-file', 'password'];
      // More than fits into the clusters the seed has.
      const more = ['--set', `comment=${'long '.repeat(90)}`, '--set', 'mail.messageBurst=3'];
      const run = await flash([at.path, 'sdb', '--yes', '--json', ...args, ...more], at.world(), {
        cwd: at.directory,
      });
      expect(run).toMatchObject({ exitCode: 0 });
      expect(run.events.at(-1)).toMatchObject({ event: 'flashed', settingsChanged: true });
      expect(run.stderr + run.stdout).not.toContain('the pass phrase');
      const boot = await at.boot();
      expect(JSON.parse(seedOf(boot))).toEqual({
        domain: 'chat.example.org',
        comment: 'long '.repeat(90),
        mail: { quotaBytes: 1_000_000_000, messageBurst: 3 },
        network: { wifi: { ssid: 'Home', country: 'DE' } },
        secrets: { dkimKey: 'KEY', wifiPassword: 'the pass phrase' },
      });
      const kernel = boot.entries.find(({ path }) => path === 'kernel.img')?.bytes;
      expect(Buffer.from(kernel ?? []).equals(Buffer.alloc(3_000_000, 'kernel'))).toBe(true);
      expect((await readFile(at.path)).equals(before)).toBe(true);
    },
  );

  test('asks for the password of the network, and says that no cable is needed', async () => {
    await using at = await place(await imageWith(JSON.stringify(seed)));
    const typed = 'sdb\n';
    const { exitCode, stderr } = await flash(
      [at.path, '--wifi', 'Home', '--wifi-country', 'DE'],
      at.world(),
      { typed: `the pass phrase\n${typed}` },
    );
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expect(stderr).toContain('Password of the Wi-Fi network Home: ');
    expect(stderr).toContain('Put it into the Raspberry Pi, and connect the power');
    expect(JSON.parse(seedOf(await at.boot()))).toMatchObject({
      secrets: { wifiPassword: 'the pass phrase' },
    });
  });

  test('compares what was changed too', async () => {
    await using at = await place(await imageWith(JSON.stringify(seed)));
    const world = at.world((real) => ({
      writeAt: async (offsetBytes, bytes) => {
        const copy = Buffer.from(bytes);
        const found = copy.indexOf('Hello');
        if (found >= 0) copy.writeUInt8(copy.readUInt8(found) ^ 1, found);
        await real.writeAt(offsetBytes, copy);
      },
    }));
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes', '--set', 'comment=Hello'], world);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('does not hold what was written to it'),
    });
  });

  test.each<[string, string | undefined, string[], number, string]>([
    [
      'settings that make no sense',
      JSON.stringify(seed),
      ['--set', 'mail.quotaBytes=1'],
      2,
      'mail.quotaBytes should be >=1048576',
    ],
    [
      'settings that there are not',
      JSON.stringify(seed),
      ['--set', 'mail.colour=red'],
      2,
      'mail.colour is not a known setting',
    ],
    ['another domain', JSON.stringify(seed), ['--set', 'domain=b.example'], 2, 'when the image is built'],
    [
      'a network without its password',
      JSON.stringify(seed),
      ['--set', 'network.wifi={"ssid":"Home","country":"DE"}'],
      2,
      'its password is not given',
    ],
    ['an image without a seed', undefined, ['--set', 'comment=Hi'], 1, 'it has no chatmail.json'],
    ['an image whose seed is broken', '{"domain"', ['--set', 'comment=Hi'], 2, 'is not valid JSON'],
  ])('refuses %s, before anything is written', async (_, text, args, code, sentence) => {
    await using at = await place(await imageWith(text));
    let isOpened = false;
    const world = at.world(() => {
      isOpened = true;
      return {};
    });
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes', ...args], world);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: code, stderr: expect.stringContaining(sentence) });
    expect(isOpened).toBe(false);
  });
});
