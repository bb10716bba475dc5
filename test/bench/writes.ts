/**
 * What a relay writes to DATA while nobody uses it, and for each message: cards wear by it. DATA is a
 * filesystem made and mounted as on the device, on a loop device whose counters tell what really went down.
 */
import { mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { $ } from 'zx';
import { tools } from '../../appliance/base/tools.ts';
import { dataFormatArguments, dataMountOptions } from '../../appliance/disk/prepare-data.ts';
import { builtRoot } from '../vm/built-image.ts';
import { RelayNamespace } from '../vm/relay-namespace.ts';
import { type Bench, type BenchTable, format } from './bench.ts';
import { chatMessage, domain, fetchNewest, send, senderSession, waitingInbox } from './clients.ts';

const [sender, reader] = [`alice0001@${domain}`, `bob000001@${domain}`];
const dataBytes = 2 * 1024 ** 3;
/** After the start: certificates, first log lines, the journal's first commits. */
const settleMs = 30_000;
const idleMs = 2 * 60_000;
const messageCount = 100;
/** A chat's pace: what is written for one message is not merged with the next by chance. */
const pauseMs = 200;
/** Of the armored body. */
const messageBytes = 10_000;
/** ext4 commits every 5 s; the log waits 10 s. */
const afterwardsMs = 15_000;

interface Writes {
  readonly bytes: number;
  readonly requests: number;
  /** Requests to empty the disk's own cache: what fsync costs beside the bytes. */
  readonly flushes: number;
}

export const writesBench: Bench = {
  name: 'writes',
  title: 'what goes to DATA',
  needs: { root: true, tools: { iproute2: 'ip' } },
  async run({ directory, signal, note }) {
    const rootImage = (await builtRoot()).path;
    await using disk = await dataDisk(directory, rootImage, signal);
    await using relay = await RelayNamespace.start({
      rootImage,
      dataDirectory: disk.mountPoint,
      // Orders that must fail here would be all that an idle relay logs.
      config: { domain, tls: { certificate: 'self-signed' }, mail: { messagesPerMinute: 10_000 } },
    });
    using inbox = await waitingInbox(relay, reader, signal);
    (await waitingInbox(relay, sender, signal))[Symbol.dispose]();
    note('started; waiting for it to come to rest');
    await sleep(settleMs, undefined, { signal });

    const idleSince = Date.now();
    const idle = await disk.during(() => sleep(idleMs, undefined, { signal }));
    const idleFiles = await changedFiles(disk.mountPoint, idleSince);
    note(`idle: ${format(idle.bytes / 1000)} kB in ${idleMs / 60_000} minutes`);

    using smtp = await senderSession(relay, sender);
    const mail = await disk.during(async () => {
      for (let count = 1; count <= messageCount; count++) {
        signal.throwIfAborted();
        await send(smtp, sender, reader, chatMessage(sender, messageBytes));
        await fetchNewest(inbox, count);
        await sleep(pauseMs, undefined, { signal });
      }
      await sleep(afterwardsMs, undefined, { signal });
    });
    const hours = idleMs / 3_600_000;
    return {
      rows: [
        {
          what: 'an idle hour',
          ours: idle.bytes / hours / 1000,
          unit: 'kB',
          goal: { text: '≤ 1 MB', met: idle.bytes / hours <= 1e6 },
        },
        { what: 'a message of 10 kB', ours: mail.bytes / messageCount / 1000, unit: 'kB' },
      ],
      tables: [
        requestsTable(idle, mail, hours),
        ...(idleFiles.length > 0 ? [filesTable(idleFiles, idleSince)] : []),
      ],
      remarks: [
        `Idle for ${idleMs / 60_000} minutes with a client waiting in IDLE; then ${messageCount} messages from one`,
        `account to another of the same relay, one every ${pauseMs} ms, each fetched by its reader.`,
        'Counted by the loop device below DATA: journal, metadata and all. Unlike a device it has no chrony.',
      ],
    };
  },
};

interface DataDisk extends AsyncDisposable {
  readonly mountPoint: string;
  /** What reached the disk during `work`, and before and after it nothing is left to be written. */
  during(work: () => Promise<unknown>): Promise<Writes>;
}

async function dataDisk(directory: string, rootImage: string, signal: AbortSignal): Promise<DataDisk> {
  const file = join(directory, 'data.ext4');
  const [mountPoint, root] = [join(directory, 'data'), join(directory, 'root')];
  await Promise.all([mountPoint, root].map((path) => mkdir(path)));
  await writeFile(file, '');
  await truncate(file, dataBytes);
  const run = $({ quiet: true, signal });
  const cleanup = $({ quiet: true, nothrow: true });
  try {
    // The image's own mke2fs, whose defaults may differ from this host's.
    await run`mount -t squashfs -o ro,loop ${rootImage} ${root}`;
    await run`mount --bind ${directory} ${join(root, 'tmp')}`;
    // The device fills the tables of its first hour in the background; here that would be taken for ours.
    await run`chroot ${root} ${tools.mke2fs} ${dataFormatArguments} -E lazy_itable_init=0,lazy_journal_init=0 /tmp/data.ext4`;
  } finally {
    await cleanup`umount ${join(root, 'tmp')}`;
    await cleanup`umount ${root}`;
  }
  const device = (await run`losetup --find --show ${file}`).stdout.trim();
  try {
    await run`mount -t ext4 -o ${dataMountOptions.join(',')} ${device} ${mountPoint}`;
  } catch (error) {
    await cleanup`losetup --detach ${device}`;
    throw error;
  }
  const counters = async (): Promise<Writes> => {
    await cleanup`sync -f ${mountPoint}`;
    // Documentation/block/stat.rst: write I/Os, write sectors of 512 bytes, flush I/Os.
    const fields = (await readFile(`/sys/block/${basename(device)}/stat`, 'utf8'))
      .trim()
      .split(/\s+/)
      .map(Number);
    const [requests = 0, sectors = 0, flushes = 0] = [fields[4], fields[6], fields[15]];
    return { requests, bytes: sectors * 512, flushes };
  };
  return {
    mountPoint,
    async during(work) {
      const before = await counters();
      await work();
      const after = await counters();
      return {
        bytes: after.bytes - before.bytes,
        requests: after.requests - before.requests,
        flushes: after.flushes - before.flushes,
      };
    },
    async [Symbol.asyncDispose]() {
      await cleanup`umount ${mountPoint}`;
      await cleanup`losetup --detach ${device}`;
    },
  };
}

interface ChangedFile {
  readonly path: string;
  readonly mtimeMs: number;
  readonly sizeBytes: number;
}

async function changedFiles(directory: string, sinceMs: number): Promise<ChangedFile[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry): Promise<ChangedFile[]> => {
      const path = join(entry.parentPath, entry.name);
      const status = await stat(path).catch(() => undefined);
      if (status === undefined || status.mtimeMs < sinceMs) return [];
      return [{ path: relative(directory, path), mtimeMs: status.mtimeMs, sizeBytes: status.size }];
    }),
  );
  return found.flat();
}

function requestsTable(idle: Writes, mail: Writes, hours: number): BenchTable {
  const line = (name: string, { bytes, requests, flushes }: Writes, share: number) => [
    name,
    `${format((bytes * share) / 1000)} kB`,
    format(requests * share),
    format(flushes * share),
  ];
  return {
    head: ['', 'written', 'write requests', 'flushes of the disk'],
    lines: [line('an idle hour', idle, 1 / hours), line('a message', mail, 1 / messageCount)],
  };
}

function filesTable(files: readonly ChangedFile[], sinceMs: number): BenchTable {
  return {
    head: ['changed while idle', 'last time', 'size'],
    lines: files.map(({ path, mtimeMs, sizeBytes }) => [
      path,
      `after ${format((mtimeMs - sinceMs) / 1000)} s`,
      `${sizeBytes} bytes`,
    ]),
  };
}
