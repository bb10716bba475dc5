/** `run`: boots an image in QEMU, waits until the relay answers, and says how to connect. */
import { randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { renderUnicodeCompact } from 'uqr';
import { type Domain, parseDomain, plainDomain } from '../../../appliance/contract/domain.ts';
import { dcloginUri, makeInviteAccount } from '../../../appliance/contract/invite.ts';
import { defaultCacheDirectory } from '../../packages/cache-directory.ts';
import { startVm, type Vm, type VmOptions, waitForRelay } from '../../run-vm.ts';
import { type ServicePorts, services } from '../../vm/forwarded-ports.ts';
import type { Accelerator, Architecture } from '../../vm/machine.ts';
import { describeExit } from '../../vm/qemu-process.ts';
import { type Command, type CommandContext, parseFlags } from '../command.ts';
import { CliError } from '../errors.ts';
import { createProgress, type Progress } from '../progress.ts';

const help = `chatmail-build run [IMAGE] [options]

Boots IMAGE (default: the newest in out/) in QEMU and waits until the relay answers. The image itself is
never changed; one that is compressed (.img.zst, .img.xz) is unpacked first. Ctrl-C switches the machine off properly, a second one pulls the plug.

  --persist DIR        keep the machine's disk in DIR for the next run (default: forget it)
  --memory MB          memory of the machine                        (default: 1024)
  --cpus N             processors of the machine                    (default: 2)
  --bind ADDRESS       address of this host to serve on             (default: 127.0.0.1)
  --port-offset N      port 25 becomes N+25, and so on              (default: 2000)
  --ports LIST         fixed ports instead: smtp=2525,https=8443
  --bios, --uefi       how the machine starts   (default: --bios on x86-64, --uefi on arm64)
  --accel NAME         kvm, hvf, whpx or tcg    (default: the host's own if it works, else tcg)
  --timeout S          give up when the relay does not answer       (default: 300)
  --console            show what the machine writes to its console
  --json               one JSON object a line on stdout: started, console, ready, invite, stopped
`;

const flags = {
  persist: { type: 'string' },
  memory: { type: 'string' },
  cpus: { type: 'string' },
  bind: { type: 'string' },
  'port-offset': { type: 'string' },
  ports: { type: 'string' },
  bios: { type: 'boolean' },
  uefi: { type: 'boolean' },
  accel: { type: 'string' },
  timeout: { type: 'string' },
  console: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

/** What an image is for stands at the end of its name (builder/config.ts, imageBaseName). */
const architectures: Readonly<Record<string, Architecture>> = {
  'vm-x86_64': 'x86_64',
  'vm-arm64': 'aarch64',
};

/** So much larger than the image is the machine's disk: sparse, so it costs nothing. */
const extraDiskBytes = 4 * 1024 * 1024 * 1024;

/** For Postfix, Dovecot and SQLite to finish what they are at. */
const powerDownTimeoutMs = 60_000;

export const command: Command = {
  name: 'run',
  summary: 'boot an image in QEMU',
  help,
  async run(args, context) {
    const { values, positionals } = parseFlags(args, flags, { max: 1 });
    const progress = createProgress(context, values.json ?? false);
    const image = resolve(context.cwd, positionals[0] ?? (await newestImage(join(context.cwd, 'out'))));
    const options = vmOptions(values, image, context);
    const timeoutMs = 1000 * integerFlag('--timeout', values.timeout, 300, 1, 86_400);
    const started = performance.now();
    const seconds = () => Number(((performance.now() - started) / 1000).toFixed(1));
    const onLine = (line: string) => {
      if (line.trim() === '') return;
      progress.event('console', { line });
      if (values.console) progress.note(`    | ${line}`);
    };

    await using vm = await progress.step(
      'start the machine',
      () => startVm({ ...options, onLine, onNote: (text) => progress.note(`  ${text}`) }, context.signal),
      ({ accelerator, firmware, qemu }) => `QEMU ${qemu.version}, ${accelerator}, ${firmware}`,
    );
    progress.event('started', {
      accelerator: vm.accelerator,
      firmware: vm.firmware,
      qemu: vm.qemu.version,
      ports: vm.ports,
    });
    try {
      const { hostname } = await progress.step('wait for the relay', (step) =>
        waitForRelay(vm, {
          timeoutMs,
          signal: context.signal,
          onWaiting: () => step.update(vm.machine.console.lastLines(1)[0] ?? ''),
        }),
      );
      progress.event('ready', { seconds: seconds(), ports: vm.ports });
      showConnection(vm, domainOf(image, hostname), context, progress);
    } catch (error) {
      if (!context.signal.aborted) throw error;
    }
    // Awaited here: the machine is killed when this scope is left.
    return await untilStopped(vm, context, progress);
  },
};

function isImageFor(target: string, name: string): boolean {
  return ['', '.zst', '.xz'].some((ending) => name.endsWith(`-${target}.img${ending}`));
}

type Values = ReturnType<typeof parseFlags<typeof flags>>['values'];

function vmOptions(values: Values, image: string, context: CommandContext): VmOptions {
  if (values.bios && values.uefi) throw new CliError('usage', '--bios and --uefi exclude each other');
  const target = Object.keys(architectures).find((name) => isImageFor(name, basename(image)));
  if (/-rpi-[a-z0-9]+\.img(?:\.zst|\.xz)?$/.test(image)) {
    throw new CliError('usage', `${image} is for a Raspberry Pi, which QEMU cannot stand in for`, {
      fix: 'Write it to a card with "chatmail-build flash", or build one with --target vm-x86_64',
    });
  }
  const architecture = architectures[target ?? 'vm-x86_64'] ?? 'x86_64';
  if (values.bios && architecture === 'aarch64') {
    throw new CliError('usage', '--bios is for x86-64: arm64 machines start by UEFI only', {
      fix: 'Leave it out',
    });
  }
  const accelerator = values.accel ?? 'auto';
  if (!isAccelerator(accelerator)) {
    throw new CliError('usage', `--accel ${accelerator} is none of auto, kvm, hvf, whpx, tcg`);
  }
  return {
    image,
    architecture,
    firmware: values.uefi ? 'uefi' : values.bios ? 'bios' : undefined,
    accelerator,
    memoryMb: integerFlag('--memory', values.memory, 1024, 256, 1_048_576),
    cpus: integerFlag('--cpus', values.cpus, 2, 1, 255),
    hostAddress: values.bind ?? '127.0.0.1',
    portOffset:
      values['port-offset'] === undefined
        ? undefined
        : integerFlag('--port-offset', values['port-offset'], 0, 0, 64_000),
    ports: parsePorts(values.ports),
    persistDirectory: values.persist === undefined ? undefined : resolve(context.cwd, values.persist),
    extraDiskBytes,
    cacheDirectory: defaultCacheDirectory({
      platform: process.platform,
      env: context.env,
      homeDirectory: homedir(),
    }),
    host: { platform: process.platform, env: context.env },
    clock: context.clock,
  };
}

function isAccelerator(text: string): text is Accelerator | 'auto' {
  return ['auto', 'kvm', 'hvf', 'whpx', 'tcg'].includes(text);
}

function integerFlag(
  flag: string,
  text: string | undefined,
  fallback: number,
  min: number,
  max: number,
): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new CliError('usage', `${flag} ${text} is not a whole number from ${min} to ${max}`);
  }
  return value;
}

/** `smtp=2525,https=8443` */
function parsePorts(list: string | undefined): Partial<ServicePorts> {
  const entries = (list ?? '').split(',').filter(Boolean);
  return Object.fromEntries(
    entries.map((entry) => {
      const [name = '', port = ''] = entry.split('=');
      const service = services.find((one) => one === name.trim());
      if (service === undefined) {
        throw new CliError(
          'usage',
          `--ports names ${JSON.stringify(name)}, which is none of ${services.join(', ')}`,
        );
      }
      return [service, integerFlag(`--ports ${service}`, port.trim(), 0, 1, 65_535)];
    }),
  );
}

async function newestImage(directory: string): Promise<string> {
  const names = await readdir(directory).catch(() => []);
  const images = await Promise.all(
    names
      .filter((name) => Object.keys(architectures).some((target) => isImageFor(target, name)))
      .map(async (name) => ({
        path: join(directory, name),
        mtimeMs: (await stat(join(directory, name))).mtimeMs,
      })),
  );
  const newest = images.sort((one, other) => other.mtimeMs - one.mtimeMs)[0];
  if (newest === undefined) {
    throw new CliError('missing', `There is no image of a virtual machine in ${directory}`, {
      fix: 'Build one (chatmail-build --domain chat.example.org), or say which: chatmail-build run IMAGE',
    });
  }
  return newest.path;
}

/** The relay's domain: from the image's name, or where it was renamed from how the relay greets. */
function domainOf(image: string, hostname: string): Domain {
  const name = basename(image).replace(/-(?:vm|rpi)-[a-z0-9_]+\.img(?:\.zst|\.xz)?$/, '');
  // imageBaseName writes the colons of an IPv6 address as dashes.
  for (const text of [name, name.replaceAll('-', ':')]) {
    try {
      return parseDomain(text);
    } catch {
      // The next one, then.
    }
  }
  return parseDomain(hostname);
}

function showConnection(vm: Vm, domain: Domain, context: CommandContext, progress: Progress): void {
  const account = makeInviteAccount(randomBytes(64));
  const uri = dcloginUri(domain, account, {
    host: vm.hostAddress,
    imaps: vm.ports.imaps,
    submissions: vm.ports.submissions,
  });
  progress.event('invite', { uri });
  const width = Math.max(...services.map(({ length }) => length));
  progress.note(
    [
      '',
      `The relay of ${plainDomain(domain)} is up, and serves on ${vm.hostAddress}:`,
      ...services.map((service) => `  ${service.padEnd(width)}  ${vm.ports[service]}`),
      '',
      'A new account, for Delta Chat on this machine (paste the link, or scan the code):',
      `  ${uri}`,
      '',
    ].join('\n'),
  );
  if (context.stderr.isTTY === true) progress.note(renderUnicodeCompact(uri, { border: 2 }));
  progress.note('Ctrl-C switches the machine off');
}

/** Waits for the guest to stop by itself, or switches it off when asked to. */
async function untilStopped(vm: Vm, context: CommandContext, progress: Progress): Promise<number> {
  const { machine } = vm;
  const asked = new Promise<'asked'>((settle) => {
    if (context.signal.aborted) settle('asked');
    context.signal.addEventListener('abort', () => settle('asked'), { once: true });
  });
  const first = await Promise.race([asked, machine.exited]);
  if (first !== 'asked') {
    const reason = describeExit(first);
    progress.event('stopped', { reason });
    progress.note(reason);
    return first.reason === 'guest-shutdown' ? 0 : 1;
  }
  const force = context.force ?? new AbortController().signal;
  const reason = await progress.step('switch the machine off', async () => {
    try {
      return describeExit(await machine.powerDown({ timeoutMs: powerDownTimeoutMs, signal: force }));
    } catch (error) {
      await machine.kill();
      if (!force.aborted) throw error;
      return 'The plug was pulled';
    }
  });
  progress.event('stopped', { reason });
  return force.aborted ? 130 : 0;
}
