/**
 * From a bare machine to a configuration in force: disk, configuration, time, directories, keys, rendered
 * files. Safe to run again over what it has done before: a supervisor that was killed does.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { runCommand } from '../base/run-command.ts';
import { tools } from '../base/tools.ts';
import type { Config } from '../contract/config.ts';
import { partitionNames } from '../contract/disk-layout.ts';
import { paths } from '../contract/paths.ts';
import type { Problem } from '../contract/status.ts';
import { users } from '../contract/users.ts';
import { isMounted, mount } from '../disk/mount.ts';
import { choosePartition, findRootDisk, listPartitions } from '../disk/partitions.ts';
import { prepareData } from '../disk/prepare-data.ts';
import { hostnameOf, measureMachine } from '../render/locals.ts';
import { readTemplates, renderConfiguration, writeRendered } from '../render/render.ts';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { writeAuthorities } from './authorities.ts';
import { dataDirectories, ensureDirectories, runDirectories } from './directories.ts';
import { ensureKeys } from './keys.ts';
import { loadConfig, putInForce, scrubSeedFile } from './load-config.ts';
import { removeStaleLocks } from './stale-locks.ts';
import { keepWifiPassword } from './wifi-password.ts';

export interface StartUpOptions {
  /** In a mount namespace whose disks, hostname and clock are somebody else's business. */
  readonly inNamespace: boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Sets the machine's time from what is known; called once DATA is there, before anything is dated. */
  readonly setTime: () => Promise<{ readonly wasClockless: boolean }>;
}

export interface StartUp {
  /** Undefined when there is none to be had. */
  readonly config: Config | undefined;
  /** True when everything is in place for the services to start. */
  readonly canServe: boolean;
  readonly dataIsUsable: boolean;
  /** The machine did not know the time and was given what is known. */
  readonly wasClockless: boolean;
  readonly mustReboot: boolean;
  readonly problems: readonly Problem[];
  readonly notes: readonly string[];
}

/** Where the root hints' package keeps DNSSEC's root key (RFC 5011 updates go to our copy). */
const rootKeySource = '/usr/share/dns/root.key';

export async function startUp(options: StartUpOptions): Promise<StartUp> {
  const { inNamespace, log, signal } = options;
  const problems: Problem[] = [];
  const notes: string[] = [];
  const outcome = inNamespace
    ? // /run is empty as long as no supervisor was here before.
      ({ kind: 'ready', notes: [], wasCutOff: !existsSync(paths.config) } as const)
    : await prepareDisk(options);
  if (outcome.kind === 'ready') notes.push(...outcome.notes);
  if (outcome.kind === 'unusable') {
    problems.push({ path: 'disk', message: outcome.problem, fix: outcome.fix });
  }
  const dataIsUsable = outcome.kind === 'ready';

  const choice = await loadConfig(paths);
  if (choice.problem !== undefined) {
    problems.push(choice.problem);
    log.error('seed not taken', { path: choice.problem.path, error: choice.problem.message });
  }
  const config = choice.kind === 'chosen' ? choice.config : undefined;
  if (choice.kind === 'chosen' && choice.source === 'last-good') {
    notes.push('The configuration of the last good start is in force');
  }
  const time = inNamespace ? { wasClockless: false } : await options.setTime();
  const result = {
    config,
    dataIsUsable,
    canServe: false,
    problems,
    notes,
    mustReboot: outcome.kind === 'reboot',
    ...time,
  };
  if (!inNamespace) await setHostname(config, log, signal);
  await ensureDirectories(runDirectories);
  if (!dataIsUsable || config === undefined) return result;
  try {
    await prepareServices(config, options);
    if (outcome.kind === 'ready' && outcome.wasCutOff) await removeStaleLocks(paths.mail, log);
  } catch (error) {
    log.error('services cannot be prepared', { error: messageOf(error) });
    const fix = 'Is the disk full or failing? Start again; if it stays, write the image to a new disk';
    problems.push({ path: 'start', message: `The services cannot be prepared: ${messageOf(error)}`, fix });
    return result;
  }
  return { ...result, canServe: true };
}

async function prepareDisk({ log, signal }: StartUpOptions) {
  const partitions = await listPartitions();
  const rootDisk = await findRootDisk(partitions);
  const boot = choosePartition(partitions, partitionNames.boot, rootDisk);
  if (boot !== undefined && !(await isMounted(paths.boot))) {
    const options = ['ro', 'nosuid', 'nodev', 'noexec', 'umask=0077', 'shortname=mixed'];
    await mount({ device: boot.device, path: paths.boot, type: 'vfat', options }, signal).catch(
      (error: unknown) => log.error('BOOT cannot be mounted', { error: messageOf(error) }),
    );
  }
  const data = choosePartition(partitions, partitionNames.data, rootDisk);
  return prepareData(data, { path: paths.data, log, signal });
}

async function setHostname(config: Config | undefined, log: Log, signal: AbortSignal): Promise<void> {
  const full = config === undefined ? 'chatmail' : hostnameOf(config);
  // sethostname(2) takes at most 64 bytes.
  const name = full.length <= 64 ? full : (full.split('.')[0] ?? 'chatmail');
  await runCommand([tools.busybox, 'hostname', name], { signal }).catch((error: unknown) =>
    log.warn('host name cannot be set', { error: messageOf(error) }),
  );
}

async function prepareServices(config: Config, { clock, log, signal }: StartUpOptions): Promise<void> {
  await ensureDirectories(dataDirectories);
  await ensureKeys(config, paths, { nowMs: clock.wallMs(), log });
  const wifiPassword = await keepWifiPassword(config, paths.wifiPassword, log);
  await putInForce(config, paths);
  await scrubSeedFile(config, paths, { signal, log });
  await ensureRootKey();
  await writeAuthorities(config, paths.authorities);
  const templates = await readTemplates(paths.templates);
  await writeRendered(await renderConfiguration(config, measureMachine(), templates, { wifiPassword }));
}

/** unbound keeps its own copy, which it updates when the root's key changes. */
async function ensureRootKey(): Promise<void> {
  const path = `${paths.unboundState}/root.key`;
  const present = await readFile(path).catch(() => undefined);
  if (present !== undefined && present.length > 0) return;
  const owner = { uid: users.unbound.uid, gid: users.unbound.gid };
  await writeFileAtomic(path, await readFile(rootKeySource), { mode: 0o644, owner });
}
