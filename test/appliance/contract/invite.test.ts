import { describe, expect, test } from 'vitest';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import {
  inviteLengths,
  inviteUri,
  makeInviteAccount,
  tokenInviteUri,
} from '../../../appliance/contract/invite.ts';

const account = { localpart: 'abcdefghi', password: 'pqrstuvwxyz23456789abc' };
const servers = (host: string) => `ih=${host}&sh=${host}&ic=3`;

describe('inviteUri', () => {
  test('needs no more than the name where an authority vouches for it', () => {
    expect(inviteUri(parseDomain('Chat.Example.org'), account, true)).toBe('dcaccount:chat.example.org');
  });

  test('names the servers of an address that is vouched for, and leaves its certificate to be checked', () => {
    expect(inviteUri(parseDomain('192.0.2.1'), account, true)).toBe(
      `dclogin:abcdefghi@[192.0.2.1]?p=${account.password}&v=1&ih=192.0.2.1&sh=192.0.2.1`,
    );
  });

  test.each([
    ['192.0.2.1', 'abcdefghi@[192.0.2.1]', '192.0.2.1'],
    ['[IPv6:2001:DB8::1]', 'abcdefghi@[2001:db8::1]', '2001:db8::1'],
    ['chat.example.org', 'abcdefghi@chat.example.org', 'chat.example.org'],
    ['_chat.example.org', 'abcdefghi@_chat.example.org', '_chat.example.org'],
  ])('gives everything away for %s with a certificate of its own', (domain, address, host) => {
    expect(inviteUri(parseDomain(domain), account, false)).toBe(
      `dclogin:${address}?p=${account.password}&v=1&${servers(host)}`,
    );
  });
});

describe('makeInviteAccount', () => {
  test('spends one byte a character and takes a longer localpart where the relay wants one', () => {
    const random = Uint8Array.from({ length: 40 }, (_, index) => index * 7);
    const made = makeInviteAccount(random, 12);
    expect(made.localpart).toMatch(/^[a-z2-9]{12}$/);
    expect(made.password).toMatch(/^[a-z2-9]{22}$/);
    expect(() => makeInviteAccount(random.subarray(0, 30))).toThrow(RangeError);
  });
});

describe('tokenInviteUri', () => {
  test.each([
    ['chat.example.org', 'dcaccount:https://chat.example.org/new?token=T-1'],
    ['2001:db8::1', 'dcaccount:https://[2001:db8::1]/new?token=T-1'],
  ])('is the address that a client asks for an account at %s', (domain, uri) => {
    expect(tokenInviteUri(parseDomain(domain), 'T-1')).toBe(uri);
  });
});

describe('inviteLengths', () => {
  test('follows the rules of a relay that wants other lengths than usual', () => {
    const usual = { localpartMin: 1, localpartMax: 64, passwordMin: 9 };
    expect(inviteLengths(usual)).toEqual({ localpartLength: 9, passwordLength: 22 });
    expect(inviteLengths({ ...usual, localpartMin: 12 }).localpartLength).toBe(12);
    expect(inviteLengths({ ...usual, localpartMax: 6 }).localpartLength).toBe(6);
    expect(inviteLengths({ ...usual, passwordMin: 40 }).passwordLength).toBe(40);
  });
});
