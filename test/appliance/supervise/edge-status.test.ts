import { execFileSync } from 'node:child_process';
import { mkdtempDisposable, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import {
  decodeEdgeStatus,
  describeCertificate,
  type EdgeStatus,
  encodeEdgeStatus,
  maxEdgeStatusBytes,
} from '../../../appliance/contract/edge-status.ts';
import { readEdgeStatus } from '../../../appliance/supervise/edge-status.ts';

const status: EdgeStatus = {
  certificate: {
    state: 'valid',
    issuer: 'Let’s Encrypt R11',
    names: ['chat.example.org'],
    notAfterMs: Date.UTC(2027, 1, 19),
  },
  problems: [{ path: 'tls', message: 'Port 80 is closed', fix: 'Open it' }],
};

describe('decodeEdgeStatus', () => {
  test('gives back what was encoded', () => {
    expect(decodeEdgeStatus(encodeEdgeStatus(status))).toEqual(status);
  });

  test('takes whatever the encoder lets through, and the reader has room for it', () => {
    const text = fc.string({ unit: 'binary', maxLength: 3000 });
    fc.assert(
      fc.property(text, fc.array(text, { maxLength: 30 }), (one, many) => {
        const encoded = encodeEdgeStatus({
          certificate: { state: 'missing', issuer: one, names: many },
          problems: many.map((message) => ({ path: one, message, fix: one })),
        });
        decodeEdgeStatus(encoded);
        expect(encoded).not.toMatch(/\\u00[01]/);
      }),
      { numRuns: 50 },
    );
  });

  test.each([
    ['nothing', ''],
    ['another thing', '[]'],
    ['a key nobody knows', encodeEdgeStatus(status).replace('"names"', '"more":1,"names"')],
    ['an escape sequence for the console', encodeEdgeStatus(status).replace('Open', '\\u001b[2J')],
    ['a text longer than any', encodeEdgeStatus(status).replace('Open', 'x'.repeat(1001))],
  ])('refuses %s', (_, text) => {
    expect(() => decodeEdgeStatus(text)).toThrow(ProtocolError);
  });
});

describe('readEdgeStatus', () => {
  test('reads what is there, and knows when nothing is', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'edge-status-'));
    const path = join(directory.path, 'status.json');
    expect(await readEdgeStatus(path)).toBeUndefined();
    await writeFile(path, encodeEdgeStatus(status));
    expect(await readEdgeStatus(path)).toEqual(status);
  });

  test.skipIf(process.platform === 'win32')(
    'is neither led astray nor held up by who may write there',
    async () => {
      await using directory = await mkdtempDisposable(join(tmpdir(), 'edge-status-'));
      const at = (name: string) => join(directory.path, name);
      await writeFile(at('long'), ' '.repeat(maxEdgeStatusBytes + 1));
      await writeFile(at('status'), encodeEdgeStatus(status));
      await symlink(at('status'), at('link'));
      execFileSync('mkfifo', [at('fifo')]);
      for (const name of ['long', 'link', 'fifo', '.']) {
        await expect(readEdgeStatus(at(name)), name).rejects.toThrow(ProtocolError);
      }
    },
  );
});

describe('describeCertificate', () => {
  test.each([
    [status.certificate, 'Let’s Encrypt R11, until 2027-02-19'],
    [{ state: 'self-signed', names: [], notAfterMs: Date.UTC(2036, 0, 1) }, 'its own, until 2036-01-01'],
    [{ state: 'expired', names: [], notAfterMs: Date.UTC(2026, 0, 1) }, 'expired 2026-01-01'],
  ] as const)('says %o', (report, text) => {
    expect(describeCertificate({ ...report, names: [...report.names] })).toBe(text);
  });
});
