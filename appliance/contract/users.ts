/**
 * Users and groups of the root filesystem, with fixed numbers: files on DATA outlive every root, so a
 * number once given is never given to another. What Debian's maintainer scripts would have created.
 */
export const groups = {
  root: 0,
  tty: 5,
  disk: 6,
  mail: 8,
  postfix: 100,
  postdrop: 101,
  dovecot: 102,
  dovenull: 103,
  vmail: 104,
  relay: 105,
  edge: 106,
  unbound: 107,
  chrony: 108,
  avahi: 109,
  nogroup: 65534,
} as const;

export const users = {
  root: { uid: 0, gid: 0, home: '/' },
  postfix: { uid: 100, gid: 100, home: '/data/postfix' },
  dovecot: { uid: 102, gid: 102, home: '/run/dovecot' },
  dovenull: { uid: 103, gid: 103, home: '/nonexistent' },
  vmail: { uid: 104, gid: 104, home: '/data/mail' },
  relay: { uid: 105, gid: 105, home: '/data/relay' },
  edge: { uid: 106, gid: 106, home: '/data/edge' },
  unbound: { uid: 107, gid: 107, home: '/run/unbound' },
  chrony: { uid: 108, gid: 108, home: '/run/chrony' },
  avahi: { uid: 109, gid: 109, home: '/run/avahi-daemon' },
  nobody: { uid: 65534, gid: 65534, home: '/nonexistent' },
} as const;

export type UserName = keyof typeof users;

/** Supplementary members of groups: vmail's imap processes reach the relay's dict socket through `dovecot`. */
export const members: Readonly<Partial<Record<keyof typeof groups, readonly UserName[]>>> = {
  dovecot: ['vmail'],
};
