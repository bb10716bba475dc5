/**
 * The supervisor process: brings the machine up, runs the services, shows how things are, and takes it all
 * down in good order. Wiring only.
 *
 *     supervisor.js [--in-namespace]
 *
 * `--in-namespace`: in a mount and network namespace that somebody else has made, with /data, /run and /tmp
 * mounted: leaves disks, network, clock, watchdog and kernel settings alone. Nothing else differs.
 */
import { randomBytes } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from './base/clock.ts';
import { messageOf } from './base/errors.ts';
import { createLog } from './base/log.ts';
import { readRegularFile } from './base/regular-file.ts';
import { isVouchedFor } from './boot/certificate.ts';
import { startUp } from './boot/start-up.ts';
import { keepSavingTime, saveTime, setBootTime } from './clock/clock-keeper.ts';
import { isSynchronised } from './clock/synchronised.ts';
import { diskUse, ownAddresses } from './console/machine-state.ts';
import { openConsoles, standardOutput } from './console/outputs.ts';
import { StatusConsole } from './console/status-console.ts';
import type { Config } from './contract/config.ts';
import { plainDomain } from './contract/domain.ts';
import { describeCertificate, type EdgeStatus } from './contract/edge-status.ts';
import { inviteLengths, inviteUri, makeInviteAccount, urlHost } from './contract/invite.ts';
import { paths } from './contract/paths.ts';
import { unmount } from './disk/mount.ts';
import { applySysctls, bringUpLoopback, writeResolvConf } from './net/bring-up.ts';
import { createNetwork, recentLineCount } from './net/network.ts';
import { machineSysctls } from './net/plan.ts';
import { hostnameOf, localNameOf } from './render/locals.ts';
import { controlEndpoints, jobs, services } from './services.ts';
import { chooseContainment } from './supervise/containment.ts';
import { startControlServer } from './supervise/control-server.ts';
import { readEdgeStatus } from './supervise/edge-status.ts';
import { defaultLogLimits, ServiceLog } from './supervise/service-log.ts';
import { Supervision } from './supervise/supervise.ts';
import { startWatchdog } from './supervise/watchdog.ts';

/** busybox init(8): what each signal to PID 1 means. */
const initSignals = { reboot: 'SIGTERM', poweroff: 'SIGUSR2' } as const;
/** A machine without a clock waits so long for the network's time before it serves. */
const timeWaitMs = 10_000;
const clockLookMs = 5000;
/** What is left at the end must be written out by then. */
const unmountTimeoutMs = 20_000;

const { values: flags } = parseArgs({ options: { 'in-namespace': { type: 'boolean', default: false } } });
const inNamespace = flags['in-namespace'];
const clock = systemClock;
const stop = new AbortController();
const { signal } = stop;

const ownLog = new ServiceLog(clock, { ...defaultLogLimits, maxFileBytes: 256 * 1024 });
const log = createLog('supervisor', (line) => {
  ownLog.push(line);
  if (inNamespace) process.stdout.write(`${line}\n`);
});

/** Each namespace has its own services, and a respawned supervisor finds them again by the same name. */
function containmentName(): string {
  if (!inNamespace) return 'chatmail';
  return `chatmail-${readlinkSync('/proc/self/ns/mnt').replace(/\D/g, '')}`;
}

async function run(): Promise<void> {
  process.umask(0o022);
  await mkdir(paths.supervisorRun, { recursive: true });
  await writeFile(join(paths.supervisorRun, 'pid'), `${process.pid}\n`);
  const stopped = new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });

  if (!inNamespace) {
    await applySysctls(machineSysctls, log);
    await bringUpLoopback({ clock, log, signal });
  }
  await writeResolvConf();
  const keeping = { clock, log, signal, lastTimePath: paths.lastTime };
  const releasePath = join(paths.programs, 'release.json');
  const setTime = () => setBootTime({ ...keeping, releasePath });
  const started = await startUp({ inNamespace, clock, log, signal, setTime });
  if (started.mustReboot) {
    process.kill(1, initSignals.reboot);
    return;
  }
  const { config, dataIsUsable, canServe } = started;
  if (dataIsUsable) await ownLog.open(join(paths.logs, 'supervisor.log'));

  let clockOk = inNamespace ? undefined : false;
  const serveFromMs = clock.monotonicMs() + timeWaitMs;
  const waitForTime = async (): Promise<boolean> => clockOk === true || clock.monotonicMs() > serveFromMs;
  const containment = chooseContainment(containmentName(), clock);
  log.info('started', { pid: process.pid, containment: containment.kind, canServe });
  const supervision = new Supervision(
    canServe ? services({ keepsTime: !inNamespace, ...(started.wasClockless ? { waitForTime } : {}) }) : [],
    canServe && !inNamespace ? jobs : [],
    {
      clock,
      log,
      containment,
      runDirectory: paths.supervisorRun,
      logDirectory: dataIsUsable ? paths.logs : undefined,
      onChange: () => statusConsole.notify(),
    },
  );

  const network = createNetwork({
    config,
    canServe,
    ownsLinks: !inNamespace,
    hostname: config === undefined ? 'chatmail' : hostnameOf(config),
    localName: config === undefined ? 'chatmail' : localNameOf(config),
    ownAddresses,
    startService: (service) => supervision.add(service),
    recentLines: (name) => supervision.recentLines(name, recentLineCount),
    clock,
    log,
    signal,
  });
  const problems = (edge: EdgeStatus | undefined) => [
    ...started.problems,
    ...network.problems(),
    ...(edge?.problems ?? []),
  ];

  // smtpd(8): a message is taken only while one and a half times the largest one would fit.
  const minFreeBytes = 1.5 * (config?.mail.maxMessageBytes ?? 0);
  let invite: string | undefined;
  let invitedVouchedFor: boolean | undefined;
  const statusConsole = new StatusConsole({
    clock,
    signal,
    outputs: inNamespace ? [standardOutput] : await openConsoles(signal),
    readState: async (fresh) => {
      const credentials = await readCertificate(paths.tlsCredentials);
      const vouchedFor = config !== undefined && isVouchedFor(credentials, config);
      // The code on the screen must not outlive the certificate it was made for.
      if (config !== undefined && (fresh || vouchedFor !== invitedVouchedFor)) {
        invite = makeInvite(config, vouchedFor);
        invitedVouchedFor = vouchedFor;
      }
      const edge = canServe ? await edgeStatus() : undefined;
      const status = supervision.status();
      const use = dataIsUsable ? await diskUse(paths.data) : undefined;
      const serves = canServe && supervision.isServing;
      const localUrl = network.localUrl();
      return {
        title: config === undefined ? '(not configured)' : plainDomain(config.domain),
        addresses: [...(localUrl === undefined ? [] : [localUrl]), ...ownAddresses()],
        services: status,
        clockOk,
        disk: use === undefined ? undefined : { ...use, minFreeBytes },
        certificate: edge === undefined ? undefined : describeCertificate(edge.certificate),
        problems: problems(edge),
        notes: [...started.notes, ...inviteNotes(config)],
        inviteUri: serves && config?.accounts.create === 'open' ? invite : undefined,
      };
    },
  });

  await supervision.start();
  const control = await startControlServer(controlEndpoints, async (request) => {
    switch (request.request) {
      case 'status': {
        const edge = await edgeStatus();
        return {
          healthy: canServe && supervision.isHealthy,
          services: supervision.status(),
          clockOk: clockOk ?? null,
          disk: (await diskUse(paths.data)) ?? null,
          certificate: edge?.certificate ?? null,
          problems: problems(edge),
          notes: started.notes,
        };
      }
      case 'logs': {
        const lines =
          request.service === 'supervisor'
            ? ownLog.recent(request.lines)
            : supervision.recentLines(request.service, request.lines);
        if (lines === undefined) throw new Error(`There is no service ${request.service}`);
        return lines;
      }
      case 'restart':
        if (!supervision.restart(request.service)) throw new Error(`There is no service ${request.service}`);
        return null;
      case 'reload-certificates':
        supervision.reloadCertificates();
        return null;
      case 'reboot':
      case 'poweroff':
        log.info(request.request);
        // In a namespace PID 1 may be anybody: there only we end.
        if (inNamespace) process.kill(process.pid, 'SIGTERM');
        else process.kill(1, initSignals[request.request]);
        return null;
    }
  });

  const showing = statusConsole.run();
  const background: Promise<unknown>[] = [showing];
  if (canServe) {
    background.push(
      supervision.firstReady().then(async () => {
        log.info('ready', { afterMs: Math.round(performance.now()) });
        if (!signal.aborted) await statusConsole.ready();
      }),
    );
  }
  background.push(network.run());
  if (!inNamespace) {
    background.push(watchClock());
    if (dataIsUsable) {
      background.push(keepSavingTime(keeping));
    }
  }
  const watchdog = inNamespace
    ? undefined
    : await startWatchdog({ clock, log, isHealthy: () => !canServe || supervision.isHealthy });

  await stopped;
  log.info('stopping');
  stop.abort();
  await control[Symbol.asyncDispose]();
  await supervision.stop();
  await Promise.allSettled(background);
  if (!inNamespace && dataIsUsable) {
    await saveTime(keeping);
  }
  log.info('stopped');
  await ownLog.flush();
  if (!inNamespace && dataIsUsable) await unmount(paths.data, AbortSignal.timeout(unmountTimeoutMs));
  await watchdog?.[Symbol.asyncDispose]();
  await rm(join(paths.supervisorRun, 'pid'), { force: true });

  /** Looks until the clock is set, then rarely. */
  async function watchClock(): Promise<void> {
    while (!signal.aborted) {
      const now = await isSynchronised(signal);
      if (now !== clockOk) {
        clockOk = now;
        statusConsole.notify();
      }
      await clock.sleep(now ? 12 * clockLookMs : clockLookMs, signal).catch(() => {});
    }
  }
}

function makeInvite(config: Config, isVouchedFor: boolean): string {
  const { localpartLength, passwordLength } = inviteLengths(config.accounts);
  const random = randomBytes(localpartLength + passwordLength);
  const account = makeInviteAccount(random, localpartLength, passwordLength);
  return inviteUri(config.domain, account, isVouchedFor);
}

/** Why there is no code to scan. A token stays off the screen: only the relay knows which are used up. */
function inviteNotes(config: Config | undefined): readonly string[] {
  if (config?.accounts.create !== 'token') return [];
  const link = `https://${urlHost(config.domain)}/new?token=…`;
  return [`Accounts are made by invite token: give out ${link} with one of accounts.tokens`];
}

/** Undefined while the edge has said nothing, or nothing that makes sense. */
async function edgeStatus(): Promise<EdgeStatus | undefined> {
  try {
    return await readEdgeStatus(paths.edgeStatus);
  } catch (error) {
    log.warn('edge status not readable', { error: messageOf(error) });
    return undefined;
  }
}

/** Key and chain come to a few kilobytes. */
const maxCertificateBytes = 1024 * 1024;

/** Nobody's where it cannot be read: the edge owns it. */
async function readCertificate(path: string): Promise<string> {
  return (await readRegularFile(path, maxCertificateBytes).catch(() => undefined)) ?? '';
}

try {
  await run();
} catch (error) {
  log.error('supervisor failed', {
    error: error instanceof Error ? (error.stack ?? error.message) : String(error),
  });
  console.error(`chatmail: the supervisor cannot go on and starts again: ${messageOf(error)}`);
  await ownLog.flush();
  // init starts us again at once: not faster than a person can read.
  await clock.sleep(5000);
  process.exitCode = 1;
}
process.exit();
