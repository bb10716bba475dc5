/**
 * A relay without a machine: the appliance's root filesystem, with its own init, supervisor and service
 * table, in namespaces on this host. Clients run in a second network namespace, so that the relay sees
 * strangers. Needs root on Linux; everything it makes is gone when it is disposed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { connect as connectTo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConfigDocument } from '../../appliance/contract/config.ts';

export interface RelayNamespaceOptions {
  /** The squashfs the builder made. */
  readonly rootImage: string;
  /** The seed; as text, to try one that is wrong. */
  readonly config: ConfigDocument | string;
  /** Keep DATA here and leave it there, to start again on it. */
  readonly dataDirectory?: string;
  readonly readyTimeoutMs?: number;
  /** Takes the relay for a small machine; the memory controller must be of version 1. */
  readonly memory?: MemoryLimits;
  /** Called when the namespaces and directories are there, before init starts. */
  readonly beforeStart?: (relay: RelayNamespace) => Promise<void>;
}

export interface MemoryLimits {
  /** What /proc/meminfo says there is: programs and templates go by it, as on a device. */
  readonly totalBytes: number;
  /** What all processes together get, page cache, tmpfs and the kernel's memory for them included. */
  readonly limitBytes: number;
}

export interface MemoryUse {
  /** The most at once; with page cache, which takes whatever is free. */
  readonly peakBytes: number;
  /** What the kernel holds for the processes: sockets, page tables, names of files. */
  readonly kernelBytes: number;
  /** Files in tmpfs. */
  readonly tmpfsBytes: number;
  /** Pages of files that were thrown out and then read again: more than a few mean too little memory. */
  readonly refaults: number;
  /** Processes that the kernel killed for want of memory. */
  readonly kills: number;
}

/** Where the memory controller of version 1 is mounted, if it is. */
export const memoryController = '/sys/fs/cgroup/memory';

/** The relay's and the clients' ends of the cable between the two namespaces. */
export const relayAddress = '10.99.0.1';
export const clientAddress = '10.99.0.2';

function sh(command: string, ...args: string[]): string {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(' ')}: ${result.stderr}${result.error ?? ''}`);
  return result.stdout;
}

let made = 0;

export class RelayNamespace implements AsyncDisposable {
  /** Network namespace of the relay, and of its clients. */
  readonly netns: string;
  readonly clientNetns: string;
  readonly dataDirectory: string;
  readonly #directory: string;
  #init: ChildProcess | undefined;
  #proxy: ChildProcess | undefined;
  #memoryGroup: string | undefined;
  #console = '';

  private constructor(directory: string, dataDirectory: string | undefined) {
    const id = `${process.pid}-${made++}`;
    this.netns = `relay-${id}`;
    this.clientNetns = `client-${id}`;
    this.#directory = directory;
    this.dataDirectory = dataDirectory ?? join(directory, 'data');
  }

  /** Starts a relay and waits until its supervisor says that it is ready. */
  static async start(options: RelayNamespaceOptions): Promise<RelayNamespace> {
    const directory = await mkdtemp(join(tmpdir(), 'relay-'));
    const relay = new RelayNamespace(directory, options.dataDirectory);
    try {
      await relay.#start(options);
      return relay;
    } catch (error) {
      await relay[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(options: RelayNamespaceOptions): Promise<void> {
    const boot = join(this.#directory, 'boot');
    const root = join(this.#directory, 'root');
    await Promise.all([boot, root, this.dataDirectory].map((path) => mkdir(path, { recursive: true })));
    // A filesystem of its own, as on a machine: the relay mounts BOOT again to write to it.
    sh('mount', '-t', 'tmpfs', '-o', 'mode=755', 'boot', boot);
    const { config } = options;
    await writeFile(
      join(boot, 'chatmail.json'),
      typeof config === 'string' ? config : JSON.stringify(config),
    );
    this.#makeNetwork();
    await this.#startProxy();
    await options.beforeStart?.(this);
    const script = join(import.meta.dirname, 'namespace.sh');
    const meminfo = await this.#limitMemory(options.memory);
    this.#init = spawn(
      'sh',
      // prettier-ignore
      [
        // ip-netns(8) hides /sys/fs/cgroup: a process joins the group before it.
        '-c', 'if [ -n "$0" ]; then echo $$ >"$0/cgroup.procs"; fi; exec "$@"', this.#memoryGroup ?? '',
        'ip', 'netns', 'exec', this.netns,
        'unshare', '--mount', '--pid', '--uts', '--ipc', '--cgroup', '--fork', '--kill-child',
        'sh', script, options.rootImage, this.dataDirectory, boot, root,
        ...(meminfo === undefined ? [] : [meminfo]),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [this.#init.stdout, this.#init.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#console += chunk.toString();
      });
    }
    await this.waitForConsole(/^chatmail: ready/m, options.readyTimeoutMs ?? 60_000);
  }

  /** @returns what namespace.sh is to put in place of /proc/meminfo */
  async #limitMemory(limits: MemoryLimits | undefined): Promise<string | undefined> {
    if (limits === undefined) return undefined;
    const group = join(memoryController, this.netns);
    await mkdir(group);
    this.#memoryGroup = group;
    await writeFile(join(group, 'memory.limit_in_bytes'), String(limits.limitBytes));
    const meminfo = join(this.#directory, 'meminfo');
    const kilobytes = Math.floor(limits.totalBytes / 1024);
    const host = await readFile('/proc/meminfo', 'utf8');
    await writeFile(
      meminfo,
      host
        .replace(/^(MemTotal:\s+)\d+/m, `$1${kilobytes}`)
        .replace(/^(Mem(?:Free|Available):\s+)\d+/gm, `$1${Math.floor(kilobytes / 2)}`),
    );
    return meminfo;
  }

  /** What the relay took of its `memory`. */
  async memoryUse(): Promise<MemoryUse> {
    const group = this.#memoryGroup;
    if (group === undefined) throw new Error('This relay has no memory limits');
    const read = (name: string) => readFile(join(group, `memory.${name}`), 'utf8');
    const [stat, control] = [await read('stat'), await read('oom_control')];
    const field = (text: string, name: string) =>
      Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? NaN);
    return {
      peakBytes: Number(await read('max_usage_in_bytes')),
      kernelBytes: Number(await read('kmem.usage_in_bytes')),
      tmpfsBytes: field(stat, 'total_shmem'),
      refaults: field(stat, 'total_workingset_refault_file'),
      kills: field(control, 'oom_kill'),
    };
  }

  #makeNetwork(): void {
    for (const name of [this.netns, this.clientNetns]) {
      sh('ip', 'netns', 'add', name);
      sh('ip', '-n', name, 'link', 'set', 'lo', 'up');
    }
    sh(
      'ip',
      '-n',
      this.netns,
      'link',
      'add',
      'eth0',
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      this.clientNetns,
    );
    sh('ip', '-n', this.netns, 'addr', 'add', `${relayAddress}/24`, 'dev', 'eth0');
    sh('ip', '-n', this.clientNetns, 'addr', 'add', `${clientAddress}/24`, 'dev', 'eth0');
    for (const name of [this.netns, this.clientNetns]) sh('ip', '-n', name, 'link', 'set', 'eth0', 'up');
  }

  /** All that init and the supervisor wrote to the console. */
  get console(): string {
    return this.#console;
  }

  /** Waits until the console shows something, after its first `from` characters. */
  async waitForConsole(pattern: RegExp, timeoutMs: number, from = 0): Promise<void> {
    await waitUntil(
      () => {
        if (this.#init === undefined || hasEnded(this.#init))
          throw new Error(`The relay ended\n${this.#console}`);
        return pattern.test(this.#console.slice(from));
      },
      timeoutMs,
      () => `${pattern} on the console\n${this.#console}`,
    );
  }

  /** A TCP connection from the clients' namespace, to the relay unless another host is given. */
  async connect(port: number, host: string = relayAddress): Promise<Socket> {
    const socket = connectTo({ path: this.#proxySocket });
    await once(socket, 'connect');
    socket.write(`${host} ${port}\n`);
    return socket;
  }

  async #startProxy(): Promise<void> {
    const script = join(import.meta.dirname, 'client-proxy.js');
    this.#proxy = spawn(
      'ip',
      ['netns', 'exec', this.clientNetns, process.execPath, script, this.#proxySocket],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    if (this.#proxy.stdout !== null) await once(this.#proxy.stdout, 'data');
  }

  get #proxySocket(): string {
    return join(this.#directory, 'proxy.sock');
  }

  /** Runs a command among the clients and returns what it wrote. */
  runAsClient(command: string, ...args: string[]): string {
    return sh('ip', 'netns', 'exec', this.clientNetns, command, ...args);
  }

  /** Processes of the relay, by this host's numbers: those whose network namespace is the relay's. */
  async processes(): Promise<{ readonly pid: number; readonly command: string }[]> {
    const pids = sh('ip', 'netns', 'pids', this.netns).split('\n').filter(Boolean).map(Number);
    const all = await Promise.all(
      pids.map(async (pid) => {
        const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
        return { pid, command: text.replaceAll('\0', ' ').trim() };
      }),
    );
    return all.filter(
      ({ command }) => command !== '' && !command.startsWith('unshare') && !command.startsWith('ip '),
    );
  }

  /** The one process whose command line matches. */
  async pidOf(pattern: RegExp): Promise<number> {
    const found = (await this.processes()).filter(({ command }) => pattern.test(command));
    const [first] = found;
    if (first === undefined) throw new Error(`No process matches ${pattern}`);
    return first.pid;
  }

  /** The text of every service log, for a failing test. */
  async logs(): Promise<string> {
    const folder = join(this.dataDirectory, 'log');
    const names: string[] = await readdir(folder).catch(() => []);
    const texts = await Promise.all(
      names
        .toSorted()
        .map(async (name) => `== ${name}\n${(await readFile(join(folder, name), 'utf8')).slice(-4000)}`),
    );
    return texts.join('\n');
  }

  /** The relay's own view of its files: `/run/…` is `inside('/run/…')`. */
  async inside(path: string): Promise<string> {
    return `/proc/${await this.#initPid()}/root${path}`;
  }

  /** The directory that stands for BOOT. */
  get bootDirectory(): string {
    return join(this.#directory, 'boot');
  }

  async #initPid(): Promise<number> {
    return this.pidOf(/^(?:\/usr\/bin\/busybox )?init$/);
  }

  /**
   * What the power button or reboot(8) ask of init; it stops everything in good order and ends.
   * The kernel ends a PID namespace where it would switch off a machine (reboot(2)).
   */
  async shutDown(how: 'power-off' | 'reboot', timeoutMs = 60_000): Promise<void> {
    const init = this.#init;
    if (init === undefined || hasEnded(init)) return;
    const ended = once(init, 'exit', { signal: AbortSignal.timeout(timeoutMs) });
    // busybox init(8)
    process.kill(await this.#initPid(), how === 'reboot' ? 'SIGTERM' : 'SIGUSR2');
    await ended.catch((cause: unknown) => {
      throw new Error(`Not down after ${timeoutMs} ms\n${this.#console}`, { cause });
    });
  }

  /** Pulls the plug: init is killed, and the kernel kills the rest. */
  async stop(): Promise<void> {
    const init = this.#init;
    if (init === undefined || hasEnded(init)) return;
    const ended = new Promise((resolve) => init.once('exit', resolve));
    init.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#proxy?.kill();
    for (const name of [this.netns, this.clientNetns]) spawnSync('ip', ['netns', 'del', name]);
    const group = this.#memoryGroup;
    if (group !== undefined) {
      const isGone = () =>
        rmdir(group).then(
          () => true,
          () => false,
        );
      await waitUntil(isGone, 10_000, () => `the end of ${group}`);
    }
    // The other mounts lived in the mount namespace and went with it.
    spawnSync('umount', ['--lazy', this.bootDirectory]);
    await rm(this.#directory, { recursive: true, force: true });
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

/** Asks again and again, with pauses that grow to 200 ms. */
export async function waitUntil(
  holds: () => boolean | Promise<boolean>,
  timeoutMs: number,
  what: () => string,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (let pauseMs = 10; !(await holds()); pauseMs = Math.min(200, pauseMs * 2)) {
    if (Date.now() > deadline) throw new Error(`Waited ${timeoutMs} ms for ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
