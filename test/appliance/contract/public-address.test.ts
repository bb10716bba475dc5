import { describe, expect, test } from 'vitest';
import { isPublicAddress } from '../../../appliance/contract/public-address.ts';

describe('isPublicAddress', () => {
  test.each([
    '10.1.2.3',
    '100.64.0.1',
    '100.127.255.255',
    '127.0.0.1',
    '169.254.7.7',
    '172.31.255.255',
    '192.168.1.1',
    '192.0.2.1',
    '198.18.0.1',
    '203.0.113.5',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    'fe80::1',
    'fd00::1',
    '2001:db8::1',
    '2002:102:304::1',
    '::ffff:8.8.8.8',
    '64:ff9b::808:808',
    'ff02::1',
    '',
    'chat.example.org',
    '8.8.8.8/24',
  ])('%s is none', (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  test.each(['8.8.8.8', '100.128.0.1', '172.32.0.1', '198.20.0.1', '2a01:4f8::1', '2001:4860:4860::8888'])(
    '%s is one',
    (address) => {
      expect(isPublicAddress(address)).toBe(true);
    },
  );

  test('knows the last and the first address beside a private block', () => {
    expect(['9.255.255.255', '11.0.0.0', '223.255.255.255', '2003::1'].filter(isPublicAddress)).toHaveLength(
      4,
    );
    expect(['224.0.0.1', '4000::1'].filter(isPublicAddress)).toEqual([]);
  });
});
