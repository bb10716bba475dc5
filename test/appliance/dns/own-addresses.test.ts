import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lastingAddresses } from '../../../appliance/dns/own-addresses.ts';
import { isPublicAddress } from '../../../appliance/contract/public-address.ts';

const table = `00000000000000000000000000000001 01 80 10 80       lo
2a0104f8000000000000000000000aaa 02 40 00 01     eth0
2a0104f8000000000000000000000bbb 02 40 00 20     eth0
2a0104f8000000000000000000000ccc 02 40 00 40     eth0
2a0104f80000000000000000000000dd 02 40 00 00     eth0
2a0104f8000000000211 22fffe334455 02 40 00 00    broken
2a0104f800000000021122fffe334455 02 40 00 00     eth0
2a0104f8000000000000000000000005 02 80 00 80     eth0
fd000000000000000000000000000001 02 40 00 80     eth0
fe80000000000000021122fffe334455 02 40 20 80     eth0
`;

describe('lastingAddresses', () => {
  test('leaves out what is temporary, deprecated, tentative, private or local, and puts the lasting first', () => {
    expect(lastingAddresses(table)).toEqual(['2a01:4f8::5', '2a01:4f8::211:22ff:fe33:4455', '2a01:4f8::dd']);
  });

  test('takes any text, and every cut of a right one', () => {
    for (let end = 0; end < table.length; end++) {
      for (const address of lastingAddresses(table.slice(0, end)))
        expect(isPublicAddress(address)).toBe(true);
    }
    fc.assert(fc.property(fc.string(), (text) => Array.isArray(lastingAddresses(text))));
  });
});
