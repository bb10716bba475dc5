/**
 * What Debian's maintainer scripts, or an administrator, would have put into the root: users, groups, the
 * CA bundle, links from /etc into what is rendered at boot, mount points. Declared here, never run.
 */
import { groups, members, users } from '../../appliance/contract/users.ts';
import { paths } from '../../appliance/contract/paths.ts';
import { type TreeEntry, textContent } from '../formats/tree.ts';
import { ownDirectory, ownFile, ownLink } from './assemble.ts';

/** Mount points; everything below them is made at run time. */
const mountPoints = ['boot', 'data', 'dev', 'proc', 'run', 'sys'] as const;

/** Rendered at every boot into tmpfs, at the paths the programs were built to look at. */
const links: Readonly<Record<string, string>> = {
  'etc/chrony': paths.chronyConfig,
  'etc/dovecot': paths.dovecotConfig,
  'etc/hostname': '/run/hostname',
  'etc/hosts': '/run/hosts',
  'etc/mtab': '/proc/self/mounts',
  'etc/postfix': paths.postfixConfig,
  'etc/resolv.conf': '/run/resolv.conf',
  'etc/unbound': paths.unboundConfig,
  'var/run': '/run',
  'var/tmp': '/tmp',
};

/** The names that programs ask getservbyname(3) for: the whole of Debian's list is 13 kB of no use here. */
const services = `domain 53/tcp
domain 53/udp
http 80/tcp
https 443/tcp
imap2 143/tcp imap
imaps 993/tcp
lmtp 24/tcp
ntp 123/udp
smtp 25/tcp mail
submission 587/tcp
submissions 465/tcp ssmtp smtps
`;

/** The text of /etc/passwd: nobody has a password, nobody has a shell. */
export function passwdText(): string {
  return Object.entries(users)
    .map(([name, { uid, gid, home }]) => `${name}:x:${uid}:${gid}::${home}:/usr/sbin/nologin\n`)
    .join('');
}

/** The text of /etc/group. */
export function groupText(): string {
  return Object.entries(groups)
    .map(([name, gid]) => `${name}:x:${gid}:${membersOf(name).join(',')}\n`)
    .join('');
}

function membersOf(group: string): readonly string[] {
  return Object.entries(members).find(([name]) => name === group)?.[1] ?? [];
}

/**
 * Every file of ours that is not a program.
 * @param caCertificates PEM texts of the authorities to trust, in the order they shall stand
 * @param release what /usr/lib/chatmail/release.json says; its `date` is the earliest time the device believes
 */
export function staticFiles(
  caCertificates: readonly string[],
  release: Readonly<Record<string, string>>,
  mtimeSec: number,
): TreeEntry[] {
  const text = (path: string, content: string, mode?: number) =>
    ownFile(path, textContent(content), mtimeSec, mode);
  return [
    ...mountPoints.map((path) => ownDirectory(path, mtimeSec)),
    ownDirectory('tmp', mtimeSec, 0o1777),
    ...Object.entries(links).map(([path, target]) => ownLink(path, target, mtimeSec)),
    text('etc/passwd', passwdText()),
    text('etc/group', groupText()),
    text(
      'etc/shadow',
      Object.keys(users)
        .map((name) => `${name}:*:::::::\n`)
        .join(''),
      0o600,
    ),
    text('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\n'),
    text('etc/services', services),
    text('etc/protocols', 'icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n'),
    text('etc/os-release', osRelease(release)),
    text('etc/ssl/certs/ca-certificates.crt', caCertificates.map((pem) => `${pem.trim()}\n`).join('')),
    text('usr/lib/chatmail/release.json', `${JSON.stringify(release)}\n`),
  ];
}

function osRelease(release: Readonly<Record<string, string>>): string {
  return `ID=chatmail-build\nNAME="chatmail-build"\nVERSION_ID="${release.version ?? ''}"\nHOME_URL="https://chatmail.at"\n`;
}
