/**
 * What breaks, and is mended without a person: dead services, a dead supervisor, a stop and a start, a
 * mistyped seed, a full disk. The real root filesystem, init and service table, in namespaces.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import {
  chown,
  copyFile,
  mkdir,
  mkdtempDisposable,
  readdir,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { connect } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { paths } from '../../appliance/contract/paths.ts';
import type { ServiceStatus } from '../../appliance/contract/status.ts';
import { users } from '../../appliance/contract/users.ts';
import { askSupervisor } from '../../appliance/supervise/control-client.ts';
import type { ControlRequest } from '../../appliance/supervise/control-protocol.ts';
import { builtRoot } from './built-image.ts';
import { startTls } from '../oracles/mail-client.ts';
import { countMessages, exchange, imapSession, submissionSession, submit } from './mail-sessions.ts';
import { encrypted } from './messages.ts';
import { RelayNamespace, type RelayNamespaceOptions, waitUntil } from './relay-namespace.ts';

const domain = 'chat.test.example';
const [alice, bob] = [`alice0001@${domain}`, `bob000001@${domain}`];
const config = { domain, mail: { maxMessageBytes: 1_000_000 } };

/** Of each service, the process whose death is the service's. */
const leaders = {
  unbound: /^\/usr\/sbin\/unbound /,
  relay: /relay\.js$/,
  dovecot: /^\/usr\/sbin\/dovecot /,
  postfix: /^\/usr\/lib\/postfix\/sbin\/master /,
  edge: /edge\.js$/,
} as const;
type ServiceName = keyof typeof leaders;
const serviceNames = Object.keys(leaders) as ServiceName[];
const supervisorProcess = /supervisor\.js --in-namespace$/;

async function startRelay(options: Partial<RelayNamespaceOptions> = {}): Promise<RelayNamespace> {
  return RelayNamespace.start({ rootImage: (await builtRoot()).path, config, ...options });
}

async function ask(relay: RelayNamespace, request: ControlRequest): Promise<unknown> {
  const socket = await relay.inside(paths.supervisorSocket);
  return askSupervisor(socket, request, AbortSignal.timeout(10_000));
}

async function statusOf(relay: RelayNamespace, name: ServiceName): Promise<ServiceStatus | undefined> {
  const status = (await ask(relay, { request: 'status' })) as { readonly services: readonly ServiceStatus[] };
  return status.services.find((service) => service.name === name);
}

async function recentLog(relay: RelayNamespace, service: string): Promise<string> {
  return String(await ask(relay, { request: 'logs', service, lines: 500 }));
}

/** Runs busybox as root among the relay's processes and files. */
async function busybox(relay: RelayNamespace, ...args: string[]): Promise<string> {
  const init = await relay.pidOf(/^(?:\/usr\/bin\/busybox )?init$/);
  const enter = ['--target', String(init), '--mount', '--net', '--root', '/usr/bin/busybox'];
  const { stdout, stderr } = spawnSync('nsenter', [...enter, ...args], { encoding: 'utf8' });
  return stdout + stderr;
}

/** True when the service answers those whom it serves. */
async function serves(relay: RelayNamespace, name: ServiceName): Promise<boolean> {
  switch (name) {
    case 'unbound':
      return (await busybox(relay, 'nslookup', 'localhost', '127.0.0.1')).includes('Name:');
    case 'relay':
      return accepts(connect({ path: await relay.inside(paths.saslSocket) }));
    case 'edge': {
      const socket = await relay.connect(443);
      const secure = await startTls(socket, domain).catch(() => undefined);
      socket.destroy();
      return secure !== undefined;
    }
    case 'dovecot':
    case 'postfix': {
      const socket = await relay.connect(name === 'dovecot' ? 143 : 25);
      return new Promise((resolve) => {
        socket.once('data', () => resolve(true)).once('close', () => resolve(false));
        socket.once('error', () => resolve(false));
      }).then((isServing) => {
        socket.destroy();
        return isServing === true;
      });
    }
  }
}

function accepts(socket: ReturnType<typeof connect>): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  }).then((isOpen) => {
    socket.destroy();
    return isOpen === true;
  });
}

/** Kills the service; milliseconds until it serves again. */
async function killAndTime(relay: RelayNamespace, name: ServiceName): Promise<number> {
  const pid = await relay.pidOf(leaders[name]);
  const killedMs = performance.now();
  process.kill(pid, 'SIGKILL');
  await waitUntil(
    async () => {
      const found = (await relay.processes()).some(
        (one) => one.pid !== pid && leaders[name].test(one.command),
      );
      return found && (await serves(relay, name));
    },
    20_000,
    () => `${name} to serve again`,
  );
  return performance.now() - killedMs;
}

describe('a running relay', () => {
  let relay: RelayNamespace;

  beforeAll(async () => {
    relay = await startRelay();
    for (const address of [alice, bob]) (await imapSession(relay, address))[Symbol.dispose]();
  });
  afterAll(() => relay?.[Symbol.asyncDispose]());

  test.each(serviceNames)('has %s back within two seconds of its death, and delivers', async (name) => {
    expect(await killAndTime(relay, name)).toBeLessThan(2000);
    await exchange(relay, alice, bob);
    await exchange(relay, bob, alice);
  });

  test.each([
    ['unbound', '/run/unbound/unbound.conf', /unknown keyword 'no'/],
    ['dovecot', '/run/dovecot-config/dovecot.conf', /doveconf: Fatal: /],
    // Until its own log service runs, Postfix has nothing but /dev/log to say why.
    ['postfix', '/run/postfix/master.cf', /exit code 1/],
  ] as const)('shows why %s cannot run, and takes it back when it can', async (name, path, reason) => {
    const file = await relay.inside(path);
    await copyFile(file, `${file}.right`);
    await writeFile(file, 'no such setting {\n');
    const shownFrom = relay.console.length;
    process.kill(await relay.pidOf(leaders[name]), 'SIGKILL');
    await waitUntil(
      async () => ((await statusOf(relay, name))?.failures ?? 0) >= 3,
      20_000,
      () => `${name} to fail three times`,
    );
    await relay.waitForConsole(
      new RegExp(`^chatmail: ${name} +back-off: .*${reason.source}`, 'm'),
      5000,
      shownFrom,
    );
    expect(await statusOf(relay, name)).toMatchObject({ state: 'back-off' });
    await copyFile(`${file}.right`, file);
    // It would come back by itself, after a wait that has grown with every failure.
    await ask(relay, { request: 'restart', service: name });
    await relay.waitForConsole(new RegExp(`^chatmail: ${name} +ok$`, 'm'), 20_000, shownFrom);
    await exchange(relay, alice, bob);
  });

  test('goes on without its supervisor, and the next one takes all services in hand', async () => {
    const before = await Promise.all(serviceNames.map((name) => relay.pidOf(leaders[name])));
    const shownFrom = relay.console.length;
    process.kill(await relay.pidOf(supervisorProcess), 'SIGKILL');
    // Without anybody who reads the logs.
    await exchange(relay, alice, bob);
    await relay.waitForConsole(/^chatmail: ready/m, 20_000, shownFrom);
    expect(await Promise.all(serviceNames.map((name) => relay.pidOf(leaders[name])))).toEqual(before);
    for (const name of serviceNames) {
      expect(await statusOf(relay, name)).toMatchObject({ state: 'running', failures: 0 });
    }
    for (let round = 0; round < 10; round++) await exchange(relay, bob, alice);
    await waitUntil(
      async () => (await recentLog(relay, 'postfix')).split('status=sent').length > 11,
      5000,
      () => 'the log of the deliveries',
    );
    for (const name of serviceNames) expect(await killAndTime(relay, name)).toBeLessThan(2000);
    await exchange(relay, alice, bob);
  });

  test('is started anew when asked over the control socket', async () => {
    const shownFrom = relay.console.length;
    const before = await relay.pidOf(leaders.postfix);
    expect(await ask(relay, { request: 'reboot' })).toBeNull();
    await relay.waitForConsole(/^chatmail: ready/m, 30_000, shownFrom);
    expect(await relay.pidOf(leaders.postfix)).not.toBe(before);
    await exchange(relay, alice, bob);
  });
});

/** Names of all messages in Postfix's queue. */
async function queued(dataDirectory: string): Promise<readonly string[]> {
  const found = await Promise.all(
    ['incoming', 'active', 'deferred'].map((queue) =>
      readdir(join(dataDirectory, 'postfix/queue', queue), { recursive: true }),
    ),
  );
  return found
    .flat()
    .map((name) => name.split('/').at(-1) ?? '')
    .filter((name) => name.length > 1);
}

describe('a relay that is switched off and on', () => {
  const stack = new AsyncDisposableStack();
  let dataDirectory: string;
  let relay: RelayNamespace;
  let messages: number;
  let waiting: readonly string[];
  afterAll(() => stack.disposeAsync());

  test.each(['power-off', 'reboot'] as const)(
    'stops in reverse order on %s, nothing half done',
    async (how) => {
      dataDirectory ??= stack.use(await mkdtempDisposable(join(tmpdir(), 'recovery-'))).path;
      relay = stack.use(await startRelay({ dataDirectory }));
      await exchange(relay, alice, bob);
      await submit(relay, alice, 'someone@unreachable.example');
      await waitUntil(
        async () => (await readdir(join(dataDirectory, 'postfix/queue/active'))).length === 0,
        30_000,
        () => 'the message to be deferred',
      );
      messages = await countMessages(relay, bob);
      waiting = await queued(dataDirectory);
      expect(waiting).toHaveLength(how === 'power-off' ? 1 : 2);

      await relay.shutDown(how);
      const stopped = [...relay.console.matchAll(/"event":"service stopped","name":"([a-z]+)"/g)];
      const order = stopped.map(([, name]) => name);
      expect(order).toEqual(expect.arrayContaining(serviceNames));
      expect(order.indexOf('postfix')).toBeLessThan(order.indexOf('relay'));
      expect(order.indexOf('postfix')).toBeLessThan(order.indexOf('unbound'));
      expect(order.indexOf('dovecot')).toBeLessThan(order.indexOf('relay'));
      expect(relay.console).toMatch(/"event":"stopped"/);
      expect(relay.console).not.toMatch(/is not a service|cannot/);
      expect(existsSync(join(dataDirectory, 'relay/accounts.sqlite-wal'))).toBe(false);
      expect(await queued(dataDirectory)).toEqual(waiting);
    },
  );

  test('does not wait for a lock that a power cut has left in a mailbox', async () => {
    const lock = join(dataDirectory, 'mail', domain, bob, 'dovecot-uidlist.lock');
    // Process 1 is always there.
    await writeFile(lock, `1:${hostname()}`);
    await chown(lock, users.vmail.uid, users.vmail.gid);
    relay = stack.use(await startRelay({ dataDirectory }));
    await exchange(relay, alice, bob);
    messages = await countMessages(relay, bob);
    expect(existsSync(lock)).toBe(false);
    await relay.shutDown('power-off');
  });

  test.each([
    [
      'is not JSON',
      '{\n  "domain": "chat.test.example",\n  "comment": "oops\n}\n',
      /^chatmail: PROBLEM +Line 3 is not valid JSON: .+\n(?:.*\n)?chatmail: -> Mend/m,
    ],
    [
      'has a key that does not exist',
      `{"domain": "${domain}", "mail": {"maxMesageBytes": 70000}}`,
      /^chatmail: PROBLEM +.*mail\.maxMesageBytes.*/m,
    ],
  ])('runs on with what it had when the seed %s', async (_, seed, problem) => {
    relay = stack.use(await startRelay({ dataDirectory, config: seed }));
    await relay.waitForConsole(problem, 5000);
    await relay.waitForConsole(/The configuration of the last good start is in force/, 5000);
    expect(await countMessages(relay, bob)).toBe(messages);
    await expect(imapSession(relay, bob, 'another-password')).rejects.toThrow('AUTHENTICATIONFAILED');
    expect(await queued(dataDirectory)).toEqual(waiting);
    await exchange(relay, alice, bob);
    messages += 1;
    await relay.shutDown('power-off');
  });

  test('has every message it said yes to when the plug is pulled', async () => {
    relay = stack.use(await startRelay({ dataDirectory }));
    using smtp = await submissionSession(relay, alice);
    let accepted = 0;
    for (; accepted < 5; accepted++) {
      expect(await smtp.send(alice, [bob], encrypted(alice))).toMatchObject({ code: 250 });
    }
    await relay.stop();
    relay = stack.use(await startRelay({ dataDirectory }));
    await waitUntil(
      async () => (await countMessages(relay, bob)) >= messages + accepted,
      30_000,
      () => `${messages + accepted} messages`,
    );
    await relay.shutDown('power-off');
  });
});

describe('a relay whose disk is full', () => {
  test('refuses mail for the time being, says so, and takes it again when there is room', async () => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await mkdtempDisposable(join(tmpdir(), 'recovery-full-')));
    const [disk, dataDirectory] = [join(path, 'disk'), join(path, 'data')];
    await mkdir(dataDirectory);
    await writeFile(disk, '');
    await truncate(disk, 96 * 1024 * 1024);
    run('mke2fs', '-q', '-t', 'ext4', '-i', '8192', '-m', '1', disk);
    run('mount', '-o', 'loop', disk, dataDirectory);
    stack.defer(() => run('umount', dataDirectory));
    const relay = stack.use(await startRelay({ dataDirectory }));
    await exchange(relay, alice, bob);

    const filling = join(dataDirectory, 'filling');
    spawnSync('dd', ['if=/dev/zero', `of=${filling}`, 'bs=64k']);
    using smtp = await submissionSession(relay, alice);
    const refused = await smtp.send(alice, [bob], encrypted(alice));
    expect(refused.text).toMatch(/^452 4\.3\.1 /);
    await relay.waitForConsole(/^chatmail: PROBLEM +The disk is full: mail is refused/m, 30_000);
    expect(await countMessages(relay, bob)).toBe(1);

    const shownFrom = relay.console.length;
    await rm(filling);
    await exchange(relay, alice, bob);
    await relay.waitForConsole(/^chatmail: Disk +\d+ % of/m, 30_000, shownFrom);
  });
});

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
