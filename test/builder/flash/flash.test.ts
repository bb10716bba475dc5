import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtempDisposable, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { FlashWorld } from '../../../builder/cli/commands/flash.ts';
import { type BlockDevice, openBlockDevice } from '../../../builder/flash/block-device.ts';
import type { Disk } from '../../../builder/flash/disk.ts';
import { encodeBmap } from '../../../builder/formats/bmap.ts';
import { createSparseFile } from '../../../builder/formats/sparse-file.ts';
import { encodeXz } from '../../../builder/formats/xz.ts';
import { flash, mebibyte, sampleBytes, sampleImage, sampleWritten, stick } from './sample.ts';

interface Place extends AsyncDisposable {
  readonly directory: string;
  readonly image: Buffer;
  /** The image's file. */
  readonly path: string;
  readonly disk: Disk;
  readonly old: Buffer;
  readonly opened: string[];
  /** What the disk's file holds. */
  content(): Promise<Buffer>;
  world(change?: Partial<FlashWorld>): FlashWorld;
}

const oldBytes = randomBytes(65_537);

/** An image, and a disk (a file here) that is larger and full of something old. */
async function place(diskBytes = 24 * mebibyte, change: Partial<Disk> = {}): Promise<Place> {
  const scratch = await mkdtempDisposable(join(tmpdir(), 'flash-'));
  const image = sampleImage();
  const path = join(scratch.path, 'chat.example.org-vm-x86_64.img');
  const device = join(scratch.path, 'device');
  const old = Buffer.alloc(diskBytes, oldBytes);
  await using file = await createSparseFile(path, image.length);
  await file.writeAt(0, image);
  await writeFile(device, old);
  const disk = stick(device, diskBytes, change);
  const opened: string[] = [];
  return {
    directory: scratch.path,
    image,
    path,
    disk,
    old,
    opened,
    content: () => readFile(device),
    world: (changes = {}) => ({
      platform: 'linux',
      listDisks: async () => [disk],
      openDevice: (one) => {
        opened.push(one.name);
        return openBlockDevice(one, 'linux');
      },
      eject: async () => true,
      ...changes,
    }),
    [Symbol.asyncDispose]: () => scratch.remove(),
  };
}

/** The same where the disk is never opened: its file needs no content. */
const unopened = (change: Partial<Disk> = {}) => place(0, { sizeBytes: 24 * mebibyte, ...change });

/** The device with some of its operations replaced. */
async function faulty(disk: Disk, change: (real: BlockDevice) => Partial<BlockDevice>): Promise<BlockDevice> {
  const real = await openBlockDevice(disk, 'linux');
  return { ...real, [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](), ...change(real) };
}

async function* once(bytes: Uint8Array) {
  yield bytes;
}

/** A map of what is not zero, a range for each MiB. */
function contentMap(image: Buffer): string {
  const ranges = [];
  for (let at = 0; at < image.length; at += mebibyte) {
    const block = image.subarray(at, at + mebibyte);
    if (block.equals(Buffer.alloc(mebibyte))) continue;
    const sha256 = createHash('sha256').update(block).digest('hex');
    ranges.push({ firstBlock: at / 4096, lastBlock: (at + mebibyte) / 4096 - 1, sha256 });
  }
  return encodeBmap({ imageBytes: image.length, blockBytes: 4096, ranges });
}

const systemError = (code: string) => Object.assign(new Error(`${code}: it broke`), { code });

describe('flash', () => {
  test('writes what matters of the image, leaves the other holes, clears an old backup table, and says what is next', async () => {
    await using at = await place();
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world());
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    const content = await at.content();
    for (let mib = 0; mib < 24; mib++) {
      const range = [mib * mebibyte, (mib + 1) * mebibyte] as const;
      const expected = sampleWritten.includes(mib)
        ? at.image
        : mib === 23
          ? Buffer.alloc(24 * mebibyte)
          : at.old;
      expect(content.subarray(...range).equals(expected.subarray(...range)), `MiB ${mib}`).toBe(true);
    }
    expect(stderr).toContain('sdb is ready');
    expect(stderr).toContain('dns check --domain chat.example.org');
  });

  test('takes an image that is compressed with zstd', async () => {
    await using at = await place();
    const path = `${at.path}.zst`;
    await writeFile(path, zstdCompressSync(at.image));
    const { exitCode, events } = await flash([path, at.disk.path, '--yes', '--json'], at.world());
    expect(exitCode).toBe(0);
    expect((await at.content()).subarray(0, 10 * mebibyte).equals(at.image.subarray(0, 10 * mebibyte))).toBe(
      true,
    );
    expect(events.at(-1)).toMatchObject({
      event: 'flashed',
      disk: 'sdb',
      imageBytes: sampleBytes,
      writtenBytes: sampleWritten.length * mebibyte,
      ejected: true,
    });
    expect(events.filter(({ event }) => event === 'progress').map(({ phase }) => phase)).toEqual(
      expect.arrayContaining(['check', 'write', 'verify']),
    );
  });

  test('takes an image that is compressed with xz', async () => {
    await using at = await place();
    const path = `${at.path}.xz`;
    await writeFile(path, encodeXz(once(at.image)));
    expect((await flash([path, 'sdb', '--yes'], at.world())).exitCode).toBe(0);
    expect((await at.content()).subarray(0, 10 * mebibyte).equals(at.image.subarray(0, 10 * mebibyte))).toBe(
      true,
    );
  });

  test.each(['.img.bmap', '.bmap', '.img.zst.bmap'])(
    'holds an image against the map beside it, called %s, and writes no less than without one',
    async (ending) => {
      await using at = await place();
      const path = `${at.path}.zst`;
      await writeFile(path, zstdCompressSync(at.image));
      // As bmaptool makes one of a file with holes: it knows nothing of what must be zero.
      await writeFile(at.path.replace(/\.img$/, ending), contentMap(at.image));
      const { exitCode, stderr } = await flash([path, 'sdb', '--yes'], at.world());
      expect({ exitCode, stderr }).toEqual({
        exitCode: 0,
        stderr: expect.stringContaining('as its .bmap says'),
      });
      const content = await at.content();
      for (const mib of sampleWritten) {
        const range = [mib * mebibyte, (mib + 1) * mebibyte] as const;
        expect(content.subarray(...range).equals(at.image.subarray(...range)), `MiB ${mib}`).toBe(true);
      }
    },
  );

  test('reads no hole of a bare image that has a map', async () => {
    await using at = await place();
    await writeFile(`${at.path}.bmap`, contentMap(at.image));
    // Something that is in no range: a copy that lost its holes, say.
    const dirty = Buffer.from(at.image);
    dirty.fill(1, 15 * mebibyte, 15 * mebibyte + 4096);
    await writeFile(at.path, dirty);
    expect((await flash([at.path, 'sdb', '--yes'], at.world())).exitCode).toBe(0);
    expect((await at.content()).subarray(15 * mebibyte, 16 * mebibyte)).toEqual(
      at.old.subarray(15 * mebibyte, 16 * mebibyte),
    );
  });

  test('a disk of the very size of the image is large enough', async () => {
    await using at = await place(sampleBytes);
    expect((await flash([at.path, 'sdb', '--yes'], at.world())).exitCode).toBe(0);
    expect((await at.content()).subarray(-mebibyte).equals(at.image.subarray(-mebibyte))).toBe(true);
  });

  test('takes the newest image of out/ when only a disk is named', async () => {
    await using at = await place();
    await mkdir(join(at.directory, 'out'));
    await writeFile(join(at.directory, 'out/relay.test-rpi-arm64.img'), at.image);
    const { exitCode, stderr } = await flash(['sdb', '--yes'], at.world(), { cwd: at.directory });
    expect(exitCode).toBe(0);
    expect(stderr).toContain('Raspberry Pi');
  });

  test.each([
    ['its name', 'sdb\n', 0],
    ['nothing', '\n', 1],
    ['yes', 'yes\n', 1],
    ['another name', 'sda\n', 1],
  ])('asks by name on a terminal: %s', async (_, typed, code) => {
    await using at = await place();
    const { exitCode, stderr } = await flash([at.path], at.world(), { typed });
    expect(exitCode).toBe(code);
    expect(stderr).toContain('sdb (SanDisk Ultra, 25.2 MB)  vfat "CAMERA" 31.9 GB');
    expect((await at.content()).equals(at.old)).toBe(code !== 0);
  });

  test('writes nothing when nobody can be asked', async () => {
    await using at = await place();
    for (const args of [[at.path], [at.path, 'sdb'], [at.path, '--yes']]) {
      const { exitCode, stderr } = await flash(args, at.world());
      expect({ exitCode, stderr }).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('sdb --yes'),
      });
    }
    expect(at.opened).toEqual([]);
  });
});

describe('flash refuses, before it opens the disk,', () => {
  const cases: [string, Partial<Disk>, string][] = [
    ['the disk of the running system', { isSystem: true }, 'holds the system that is running here'],
    ['a built-in disk', { isRemovable: false }, 'is built into this machine'],
    ['a mounted disk', { uses: ['/media/me/CAMERA'] }, 'is in use: /media/me/CAMERA'],
    ['a write-protected disk', { isReadOnly: true }, 'is write-protected'],
    ['a disk of large sectors', { sectorBytes: 4096 }, 'has sectors of 4096 bytes'],
    [
      'a disk one byte too small',
      { sizeBytes: sampleBytes - 1 },
      `has ${sampleBytes - 1} bytes, and the image needs`,
    ],
  ];
  test.each(cases)('%s', async (_, change, sentence) => {
    await using at = await unopened(change);
    for (const args of [['sdb', '--yes'], ['sdb']]) {
      const { exitCode, stderr } = await flash([at.path, ...args], at.world());
      expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(sentence) });
      expect(stderr).toMatch(/\n {2}fix: .{10,}\n$/);
    }
    expect(at.opened).toEqual([]);
  });

  test.each([
    ['a file', 'chat.example.org-vm-x86_64.img', 'is a file, not a disk'],
    ['a directory', '.', 'is a directory, not a disk'],
    ['a partition', '/dev/sdb1', 'is a part of sdb'],
    ['a disk that is not there', '/dev/sdq', 'There is no disk /dev/sdq'],
    ['a device that is no disk', '/dev/null', 'The system lists no disk /dev/null'],
  ])('%s', async (_, device, sentence) => {
    await using at = await unopened();
    const { exitCode, stderr } = await flash([at.path, device, '--yes'], at.world(), { cwd: at.directory });
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(sentence) });
    expect(stderr).toMatch(/fix: .*sdb/);
    expect(at.opened).toEqual([]);
  });

  test('a machine without a removable disk', async () => {
    await using at = await unopened();
    const world = at.world({ listDisks: async () => [{ ...at.disk, isRemovable: false }] });
    const { exitCode, stderr } = await flash([at.path], world, { typed: 'sdb\n' });
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('No removable disk is connected'),
    });
  });

  test.each<[string, (at: Place) => Promise<unknown>, string]>([
    [
      'an empty file',
      async (at) => truncate(at.path, 0),
      'is no image made by chatmail-build: it is too short',
    ],
    ['a missing image', (at) => rm(at.path), 'There is no such file'],
    ['another file', (at) => writeFile(at.path, randomBytes(3 * mebibyte)), 'it has no partition table'],
    ['a truncated image', (at) => truncate(at.path, sampleBytes - 1), 'is truncated: it has'],
    [
      'an image with something behind it',
      (at) => truncate(at.path, sampleBytes + 512),
      'is longer than it was built',
    ],
  ])('%s', async (_, spoil, sentence) => {
    await using at = await unopened();
    await spoil(at);
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world());
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(sentence) });
    expect(at.opened).toEqual([]);
  });
});

describe('flash writes nothing', () => {
  test.each(['plain', 'zst', 'xz'])('of an image (%s) that is not what its map says', async (form) => {
    await using at = await unopened();
    await writeFile(`${at.path}.bmap`, contentMap(at.image));
    // In the squashfs, where nothing but the map can tell.
    const other = Buffer.from(at.image);
    other.writeUInt8(other.readUInt8(8 * mebibyte + 5) ^ 1, 8 * mebibyte + 5);
    const path = form === 'plain' ? at.path : `${at.path}.${form}`;
    await writeFile(
      path,
      form === 'plain' ? other : form === 'zst' ? zstdCompressSync(other) : encodeXz(once(other)),
    );
    const { exitCode, stderr } = await flash([path, 'sdb', '--yes'], at.world());
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: expect.stringContaining(`is not what ${at.path}.bmap says, in the bytes ${8 * mebibyte} to`),
    });
  });

  test.each([
    ['is for an image of another size', (map: string) => map, 'is for an image of 20971520 bytes'],
    ['was changed', (map: string) => map.replace('> 0-', '> 1-'), 'Its own checksum is not right'],
    ['is something else', () => '<html>', 'It is not a block map'],
  ])('when the map beside the image %s', async (_, change, message) => {
    await using at = await unopened();
    const map = contentMap(message.includes('20971520') ? at.image.subarray(0, 20 * mebibyte) : at.image);
    await writeFile(`${at.path}.bmap`, change(map));
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world());
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining(message) });
    expect(at.opened).toEqual([]);
  });

  test('of an image compressed with xz that is truncated anywhere, or damaged', async () => {
    await using at = await unopened();
    const path = `${at.path}.xz`;
    const chunks: Buffer[] = [];
    for await (const chunk of encodeXz(once(at.image))) chunks.push(Buffer.from(chunk));
    const whole = Buffer.concat(chunks);
    const damaged = Buffer.from(whole);
    damaged.writeUInt8(damaged.readUInt8(whole.length >> 1) ^ 1, whole.length >> 1);
    const cuts = [20, 1000, whole.length >> 1, whole.length - 1].map((length) => whole.subarray(0, length));
    for (const bytes of [...cuts, damaged, Buffer.concat([whole, Buffer.from('more')])]) {
      await writeFile(path, bytes);
      const { exitCode, stderr } = await flash([path, 'sdb', '--yes'], at.world());
      expect({ exitCode, stderr }).toEqual({
        exitCode: 1,
        stderr: expect.stringMatching(/damaged or truncated|no image made by/),
      });
    }
  });

  test('of a compressed image that is truncated anywhere, or damaged', async () => {
    await using at = await place();
    const path = `${at.path}.zst`;
    const whole = zstdCompressSync(at.image, {
      params: { [constants.ZSTD_c_checksumFlag]: 1 },
    });
    const half = whole.length >> 1;
    const flipped = Buffer.from(whole);
    flipped.writeUInt8(flipped.readUInt8(half) ^ 1, half);
    const short = zstdCompressSync(at.image.subarray(0, -mebibyte));
    for (const bytes of [
      whole.subarray(0, 3000),
      whole.subarray(0, half),
      whole.subarray(0, -1),
      flipped,
      short,
    ]) {
      await writeFile(path, bytes);
      const { exitCode, stderr } = await flash([path, 'sdb', '--yes'], at.world());
      expect({ exitCode, stderr }).toMatchObject({
        exitCode: 1,
        stderr: expect.stringMatching(/truncated|damaged|no partition table/),
      });
      expect((await at.content()).equals(at.old)).toBe(true);
    }
  });

  test('when the copy of the partition table at the end is damaged', async () => {
    await using at = await place();
    at.image.writeUInt8(1, sampleBytes - 1);
    at.image.writeUInt8(0xff, sampleBytes - 500);
    await writeFile(at.path, at.image);
    const { stderr } = await flash([at.path, 'sdb', '--yes'], at.world());
    expect(stderr).toContain('the copy of its partition table at the end is damaged');
    expect((await at.content()).equals(at.old)).toBe(true);
  });

  test('when the disk was exchanged, or mounted, while the question stood', async () => {
    await using at = await place();
    for (const [change, sentence] of [
      [{ serial: 'other' }, 'is no longer the disk it was'],
      [{ uses: ['/mnt'] }, 'is in use: /mnt'],
    ] as const) {
      let asked = 0;
      const listDisks = async () => [asked++ === 0 ? at.disk : { ...at.disk, ...change }];
      const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world({ listDisks }));
      expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(sentence) });
    }
    expect((await at.content()).equals(at.old)).toBe(true);
  });

  test('when interrupted while the image is checked', async () => {
    await using at = await place();
    const controller = new AbortController();
    const openDevice = async (disk: Disk) => {
      controller.abort();
      return openBlockDevice(disk, 'linux');
    };
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world({ openDevice }), controller);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 130,
      stderr: expect.stringContaining('Interrupted before anything was written'),
    });
    expect((await at.content()).equals(at.old)).toBe(true);
  });
});

describe('flash leaves a disk without a partition table', () => {
  const expectWiped = async (at: Place) => {
    expect((await at.content()).subarray(0, mebibyte).equals(Buffer.alloc(mebibyte))).toBe(true);
  };

  test.each([
    ['EIO', 'failed to write at byte 7340032'],
    ['ENODEV', 'went away at byte 7340032'],
    ['ENXIO', 'went away at byte 7340032'],
  ])('when it fails midway with %s', async (code, sentence) => {
    await using at = await place();
    const openDevice = (disk: Disk) =>
      faulty(disk, (real) => ({
        writeAt: async (offsetBytes, bytes) => {
          if (offsetBytes === 7 * mebibyte) throw systemError(code);
          await real.writeAt(offsetBytes, bytes);
        },
      }));
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world({ openDevice }));
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(sentence) });
    await expectWiped(at);
  });

  test('when interrupted midway', async () => {
    await using at = await place();
    const controller = new AbortController();
    const openDevice = (disk: Disk) =>
      faulty(disk, (real) => ({
        writeAt: async (offsetBytes, bytes) => {
          if (offsetBytes === 7 * mebibyte) controller.abort();
          await real.writeAt(offsetBytes, bytes);
        },
      }));
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world({ openDevice }), controller);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 130,
      stderr: expect.stringContaining('sdb holds nothing usable'),
    });
    await expectWiped(at);
  });

  test('when the image changes while it is written', async () => {
    await using at = await place();
    const openDevice = (disk: Disk) =>
      faulty(disk, (real) => ({
        writeAt: async (offsetBytes, bytes) => {
          if (offsetBytes === 0)
            await writeFile(at.path, Buffer.concat([at.image.subarray(0, -5), randomBytes(5)]));
          await real.writeAt(offsetBytes, bytes);
        },
      }));
    const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world({ openDevice }));
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/was changed|is damaged/);
    await expectWiped(at);
  });
});

describe('flash reads back', () => {
  test.each([0, 8 * mebibyte + 77, 17 * mebibyte, sampleBytes - 1, 23 * mebibyte])(
    'and finds the one wrong bit at byte %i',
    async (wrongByte) => {
      await using at = await place();
      const openDevice = (disk: Disk) =>
        faulty(disk, (real) => ({
          readAt: async (offsetBytes, length) => {
            const bytes = await real.readAt(offsetBytes, length);
            const at = wrongByte - offsetBytes;
            if (at >= 0 && at < length) bytes[at] = (bytes[at] ?? 0) ^ 0x10;
            return bytes;
          },
        }));
      const { exitCode, stderr } = await flash([at.path, 'sdb', '--yes'], at.world({ openDevice }));
      expect(exitCode).toBe(1);
      expect(stderr).toContain(`at byte ${wrongByte - (wrongByte % mebibyte)} and after`);
      expect(stderr).not.toContain('is ready');
    },
  );
});
