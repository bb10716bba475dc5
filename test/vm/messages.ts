/** Messages as clients submit them, ready for SmtpClient.send. */
import { boundary, encryptedBody } from '../fixtures/filter/messages.ts';

/** A whole encrypted message. `extra`: one more header field. */
export function encrypted(from: string, subject = 'Secret plans', extra = ''): string {
  return [
    `From: <${from}>`,
    'To: "hidden-recipients": ;',
    `Subject: ${subject}`,
    'Date: Fri, 20 Nov 2026 10:00:00 +0000',
    `Message-ID: <${crypto.randomUUID()}@localhost>`,
    'Chat-Version: 1.0',
    ...(extra === '' ? [] : [extra]),
    'MIME-Version: 1.0',
    `Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n boundary="${boundary}"`,
    '',
    encryptedBody(),
  ].join('\r\n');
}
