import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { announcedName, isHomeNetwork } from '../../../appliance/net/local-name.ts';
import { localNameOf } from '../../../appliance/render/locals.ts';

describe('localNameOf', () => {
  test.each([
    ['chat.example.org', undefined, 'chat'],
    ['_alice.example.org', undefined, 'alice'],
    ['192.168.1.5', undefined, 'chatmail'],
    ['grüße.example', undefined, 'xn--gre-6ka8l'],
    ['chat.example.org', 'Box', 'box'],
  ])('of %s, %s', (domain, mdnsName, name) => {
    expect(localNameOf(parseConfig({ domain, network: { mdnsName } }))).toBe(name);
  });
});

describe('isHomeNetwork', () => {
  test.each([
    [['192.168.178.20', '2001:db8::5'], true],
    [['fd00::5', '10.0.0.5'], true],
    [['fd00::5'], true],
    [['172.31.255.255'], true],
    [['172.32.0.1'], false],
    [['203.0.113.5', '10.0.0.5'], false],
    [['2001:db8::5'], false],
    [['100.64.0.5'], false],
    [[], false],
  ])('%j: %s', (addresses, isHome) => {
    expect(isHomeNetwork(addresses)).toBe(isHome);
  });
});

describe('announcedName', () => {
  test('is the last that avahi-daemon settled on', () => {
    const complete = (name: string) =>
      `2026-11-21T06:40:14.009Z Server startup complete. Host name is ${name}.local. Local service cookie is 1159282005.`;
    const conflict = '2026-11-21T06:40:15.009Z Host name conflict, retrying with chat-2';
    expect(announcedName([])).toBeUndefined();
    expect(announcedName([complete('chat')])).toBe('chat');
    expect(announcedName([complete('chat'), conflict, complete('chat-2'), 'other'])).toBe('chat-2');
  });
});
