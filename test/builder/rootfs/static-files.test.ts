import { expect, test } from 'vitest';
import { groupText, passwdText } from '../../../builder/rootfs/static-files.ts';
import { groups, users } from '../../../appliance/contract/users.ts';

test('every user has a group of passwd’s number, and no two share a number', () => {
  const gids = new Set<number>(Object.values(groups));
  for (const { gid } of Object.values(users)) expect(gids).toContain(gid);
  for (const numbers of [Object.values(users).map(({ uid }) => uid), Object.values(groups)]) {
    expect(new Set(numbers).size).toBe(numbers.length);
  }
});

test('nobody has a password or a shell', () => {
  for (const line of passwdText().trim().split('\n'))
    expect(line).toMatch(/^[a-z]+:x:\d+:\d+::[^:]+:\/usr\/sbin\/nologin$/);
});

test('vmail reaches the relay’s sockets through the group dovecot', () => {
  expect(groupText()).toContain('dovecot:x:102:vmail\n');
});
