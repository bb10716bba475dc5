/**
 * A Debian Postfix on loopback with configuration and queue of its own, as the real peer of our milter. It
 * takes mail on two ports (other servers, signed-in users), and hands everything to one relay host. Needs
 * root. Uses the installed Postfix, or the packages unpacked below $POSTFIX_ROOT (with /etc/passwd,
 * /etc/group and /dev/null in it), which it then runs in a chroot.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openTcp, SmtpClient } from './mail-client.ts';

const root = process.env['POSTFIX_ROOT'] ?? '';
const master = '/usr/lib/postfix/sbin/master';

export const hasPostfix = process.getuid?.() === 0 && existsSync(`${root}${master}`);

export interface PostfixOptions {
  readonly domain: string;
  /** Where Postfix delivers everything: a port on loopback, or LMTP on `transportPath`. */
  readonly relayPort: number | 'transport';
}

export interface Postfix extends AsyncDisposable {
  /** The unix socket to listen on, before mail comes; Postfix must be allowed to connect to it. */
  readonly milterPath: string;
  /** The unix socket that mail to others goes to, where `relayPort` says so. */
  readonly transportPath: string;
  /** Where other servers deliver. */
  readonly incomingPort: number;
  /** Where users hand in; `XCLIENT LOGIN=` stands in for their signing in. */
  readonly submissionPort: number;
  log(): Promise<string>;
}

/** Prepares directories, starts Postfix, and waits for its banner. */
export async function startPostfix({ domain, relayPort }: PostfixOptions): Promise<Postfix> {
  const directory = await mkdtemp(`${root}/tmp/postfix-`);
  const inside = directory.slice(root.length);
  const [incomingPort, submissionPort] = [await freePort(), await freePort()];
  await chmod(directory, 0o755);
  const { uid, postdrop } = await ids();
  for (const [path, mode, owner, group] of [
    ['queue', 0o755, 0, 0],
    ['queue/pid', 0o755, 0, 0],
    ['lib', 0o700, uid, 0],
    ['conf', 0o755, 0, 0],
    ['run', 0o755, 0, 0],
    ...['active', 'bounce', 'corrupt', 'defer', 'deferred', 'flush', 'hold', 'incoming', 'private', 'saved']
      .concat('trace')
      .map((name) => [`queue/${name}`, 0o700, uid, 0] as const),
    ['queue/maildrop', 0o730, uid, postdrop],
    ['queue/public', 0o710, uid, postdrop],
  ] as const) {
    await mkdir(join(directory, path));
    await chown(join(directory, path), owner, group);
    await chmod(join(directory, path), mode);
  }
  const milter = `unix:${inside}/run/milter.sock`;
  await writeFile(join(directory, 'conf/main.cf'), mainCf({ domain, relayPort, inside, milter }));
  await writeFile(join(directory, 'conf/master.cf'), masterCf({ incomingPort, submissionPort }));
  const args = ['-c', `${inside}/conf`, '-s'];
  const [command, words] = root === '' ? [master, args] : ['chroot', [root, master, ...args]];
  const child = spawn(command, words, { stdio: 'ignore' });
  const postfix: Postfix = {
    milterPath: join(directory, 'run/milter.sock'),
    transportPath: join(directory, 'run/transport.sock'),
    incomingPort,
    submissionPort,
    log: () => readFile(join(directory, 'log'), 'utf8').catch(() => ''),
    [Symbol.asyncDispose]: async () => {
      await stop(child);
      await rm(directory, { recursive: true, force: true });
    },
  };
  try {
    await waitForBanner(incomingPort, child);
    await waitForBanner(submissionPort, child);
  } catch (error) {
    const log = await postfix.log();
    await postfix[Symbol.asyncDispose]();
    throw new Error(`Postfix did not start:\n${log}`, { cause: error });
  }
  return postfix;
}

/** Greets; as a user when `login` is given. */
export async function openSmtp(port: number, login?: string): Promise<SmtpClient> {
  const smtp = new SmtpClient(await openTcp('127.0.0.1', port));
  await smtp.reply();
  await smtp.command('EHLO client.example.net');
  if (login !== undefined) {
    const reply = await smtp.command(`XCLIENT LOGIN=${login}`);
    if (reply.code !== 220) throw new Error(`XCLIENT: ${reply.text}`);
    await smtp.command('EHLO client.example.net');
  }
  return smtp;
}

function mainCf(options: {
  domain: string;
  relayPort: number | 'transport';
  inside: string;
  milter: string;
}): string {
  const { domain, relayPort, inside, milter } = options;
  return `compatibility_level = 3.6
queue_directory = ${inside}/queue
data_directory = ${inside}/lib
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
meta_directory = ${existsSync(`${root}/usr/share/postfix/dynamicmaps.cf`) ? '/usr/share/postfix' : '/etc/postfix'}
shlib_directory = /usr/lib/postfix
maillog_file = ${inside}/log
maillog_file_prefixes = /tmp
myhostname = ${domain}
mydomain = ${domain}
myorigin = ${domain}
mydestination =
${
  relayPort === 'transport'
    ? `default_transport = remote:unix:${inside}/run/transport.sock
remote_destination_recipient_limit = 50
remote_destination_concurrency_limit = 20`
    : `relayhost = [127.0.0.1]:${relayPort}`
}
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
local_header_rewrite_clients =
alias_maps =
alias_database =
default_database_type = texthash
smtputf8_enable = no
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_authorized_xclient_hosts = 127.0.0.1
message_size_limit = 31457280
disable_mime_input_processing = yes
message_reject_characters = \\0
disable_dns_lookups = yes
milter_default_action = tempfail
smtpd_milters = ${milter}
non_smtpd_milters = ${milter}
internal_mail_filter_classes = bounce
`;
}

/** What the filter needs of Postfix: who is who by milter_macro_daemon_name, and no Received of our own. */
function masterCf({
  incomingPort,
  submissionPort,
}: {
  incomingPort: number;
  submissionPort: number;
}): string {
  return `postlog unix-dgram n - n - 1 postlogd
127.0.0.1:${incomingPort} inet n - n - - smtpd
127.0.0.1:${submissionPort} inet n - n - - smtpd
  -o milter_macro_daemon_name=ORIGINATING
  -o smtpd_sasl_auth_enable=no
  -o cleanup_service_name=authclean
cleanup unix n - n - 0 cleanup
  -o milter_macro_daemon_name=INTERNAL
authclean unix n - n - 0 cleanup
  -o header_checks=regexp:{{/^Received:/ IGNORE}}
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
remote unix - - n - 20 lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
`;
}

async function ids(): Promise<{ uid: number; postdrop: number }> {
  const number = async (file: string, name: string) =>
    Number(new RegExp(`^${name}:[^:]*:(\\d+)`, 'm').exec(await readFile(`${root}/etc/${file}`, 'utf8'))?.[1]);
  return { uid: await number('passwd', 'postfix'), postdrop: await number('group', 'postdrop') };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('No port');
  return address.port;
}

async function waitForBanner(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    if (child.exitCode !== null) throw new Error(`Postfix ended with ${child.exitCode}`);
    try {
      using smtp = new SmtpClient(await openTcp('127.0.0.1', port));
      if ((await smtp.reply()).code === 220) return;
    } catch {
      // Not listening yet.
    }
    await delay(50);
  }
  throw new Error(`Nothing answers on port ${port}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

/** The version of the Postfix in use, for messages. */
export function postfixVersion(): string {
  const command = `${root === '' ? '' : `chroot ${root} `}/usr/sbin/postconf -d -h mail_version`;
  return execFileSync('/bin/sh', ['-c', command], { encoding: 'utf8' }).trim();
}
