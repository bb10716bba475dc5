import { describe, expect, test } from 'vitest';
import { IntegrityError } from '../../../appliance/base/errors.ts';
import { shortenNotifyDelay } from '../../../builder/rootfs/notify-delay.ts';

// Cut out of Debian's dovecot-core 1:2.4.1+dfsg1-6+deb13u7, around the one place, and around two others
// that wait 500 ms for something else.
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const amd64 = {
  site: hex('fe ff ff ba 34 00 00 00 bf f4 01 00 00 48 8d 35 1e ce 0a 00'),
  patched: hex('fe ff ff ba 34 00 00 00 bf 01 00 00 00 48 8d 35 1e ce 0a 00'),
  other: hex('fb ff ff ba 76 03 00 00 bf f4 01 00 00 48 8d 35 0d 0e 06 00'),
};
const arm64 = {
  site: hex('e40313aa 82068052 03000090 010600b0 63c00991 21600791 803e8052 b454ff97'),
  patched: hex('e40313aa 82068052 03000090 010600b0 63c00991 21600791 20008052 b454ff97'),
  other: hex('e40313aa 42138052 03000090 810400b0 63403791 21c00e91 803e8052 f879fe97'),
};

describe.each([
  ['amd64', amd64],
  ['arm64', arm64],
] as const)('shortenNotifyDelay on %s', (architecture, { site, patched, other }) => {
  test('changes the one number and nothing else', () => {
    const library = Buffer.concat([other, site, other]);
    const before = Buffer.from(library);
    expect(Buffer.from(shortenNotifyDelay(library, architecture))).toEqual(
      Buffer.concat([other, patched, other]),
    );
    expect(library).toEqual(before);
  });

  test('refuses a library without the place, with two of them, or that ends within', () => {
    expect(() => shortenNotifyDelay(other, architecture)).toThrow(IntegrityError);
    expect(() => shortenNotifyDelay(Buffer.concat([site, site]), architecture)).toThrow('2 places');
    expect(() => shortenNotifyDelay(site.subarray(0, 12), architecture)).toThrow(IntegrityError);
  });

  test('refuses what it has patched already', () => {
    expect(() => shortenNotifyDelay(patched, architecture)).toThrow(IntegrityError);
  });
});
