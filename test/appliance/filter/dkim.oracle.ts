/** Our signatures before dkimpy and mailauth, dkimpy's before us. */
import { spawnSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dkimEd25519Selector, dkimSelector, wantedRecords } from '../../../appliance/contract/dns-records.ts';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { dkimPublicKey } from '../../../appliance/dns/dkim-key.ts';
import { createDkimSigner } from '../../../appliance/filter/dkim-sign.ts';
import { createDkimVerifier } from '../../../appliance/filter/dkim-verify.ts';
import { applyEdits, encodeHeaders, type HeaderField } from '../../../appliance/filter/message.ts';
import { parseHeaderSection } from '../../../appliance/filter/mime.ts';
import { dkimJudges } from '../../oracles/dkim-judges.ts';
import { encryptedMessage, fields } from '../../fixtures/filter/messages.ts';

const domain = 'chat.example.org';
const clock = { wallMs: () => Date.now() };
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const record = `v=DKIM1; k=rsa; p=${createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64')}`;
const signer = createDkimSigner({ key, selector: 'opendkim', domain, clock });
const verifier = createDkimVerifier({ resolveTxt: () => Promise.resolve([[record]]), clock });
const hasDkimpy = dkimJudges.some((judge) => judge.name === 'dkimpy');

async function sign(headers: readonly HeaderField[], body: Buffer): Promise<Buffer> {
  const signed = applyEdits(headers, await signer.sign(headers, body));
  return Buffer.concat([encodeHeaders(signed), body]);
}

describe.skipIf(!hasDkimpy && process.env['CI'] === undefined)('DKIM', () => {
  test('dkimpy is there', () => {
    expect(hasDkimpy).toBe(true);
  });

  test('every judge accepts our signature on messages of all shapes', async () => {
    const value = fc.string({
      unit: fc.constantFrom('a', ' ', '\t', '\r\n ', ':', ';', '\xe4'),
      maxLength: 40,
    });
    const name = fc.constantFrom('Subject', 'X-A', 'x-a', 'Cc', 'Autocrypt', 'Received', 'Chat-Version');
    const header = fc.record({ name, value });
    const text = fc.string({ unit: fc.constantFrom('a', ' ', '\t', '\r\n', '.', '\xff'), maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(fc.array(header, { maxLength: 8 }), text, async (headers, body) => {
        // A line of white space alone would end the header section to some readers.
        fc.pre(headers.every((field) => !/\r\n[ \t]*(\r\n|$)/.test(field.value)));
        const all = [...fields(`From: Alice <alice@${domain}>`), ...headers];
        const bytes = await sign(all, Buffer.from(body, 'latin1'));
        for (const judge of dkimJudges) {
          if (!(await judge.verify(bytes, record))) throw new Error(`${judge.name} refuses the signature`);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('every judge accepts both signatures where there are two keys, and each misses its own record', async () => {
    const second = generateKeyPairSync('ed25519');
    const ed25519 = second.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const both = createDkimSigner({
      key,
      selector: dkimSelector,
      ed25519: { key: ed25519, selector: dkimEd25519Selector },
      domain,
      clock,
    });
    const { headers, body } = encryptedMessage();
    const edits = await both.sign(headers, body);
    expect(edits).toHaveLength(2);
    const bytes = Buffer.concat([encodeHeaders(applyEdits(headers, edits)), body]);
    // As the builder publishes them.
    const wanted = wantedRecords({
      domain: parseDomain(domain),
      ipv4: [],
      ipv6: [],
      dkimKeys: [dkimPublicKey(key, 'rsa'), dkimPublicKey(ed25519, 'ed25519')],
    });
    const records = Object.fromEntries(
      wanted
        .filter(({ purpose }) => purpose === 'dkim')
        .map(({ name, values }) => [name, (values[0] ?? '').replace(/" "|"/g, '')]),
    );
    for (const judge of dkimJudges) {
      expect([judge.name, await judge.verify(bytes, records)]).toEqual([judge.name, true]);
      for (const missing of Object.keys(records)) {
        const rest = Object.fromEntries(Object.entries(records).filter(([name]) => name !== missing));
        expect([judge.name, missing, await judge.verify(bytes, rest)]).toEqual([judge.name, missing, false]);
      }
      const changed = Buffer.concat([bytes, Buffer.from('x\r\n')]);
      expect(await judge.verify(changed, records)).toBe(false);
    }
  });

  test('every judge refuses it when a field is added or the body changed', async () => {
    const { headers, body } = encryptedMessage();
    const bytes = await sign(headers, body);
    for (const added of [
      'From: eve@example.net',
      'Subject: x',
      'Reply-To: eve@example.net',
      'Content-Type: text/plain',
    ]) {
      const forged = Buffer.concat([Buffer.from(`${added}\r\n`), bytes]);
      for (const judge of dkimJudges)
        expect([judge.name, added, await judge.verify(forged, record)]).toEqual([judge.name, added, false]);
    }
    for (const judge of dkimJudges) {
      expect(await judge.verify(Buffer.concat([bytes, Buffer.from('x\r\n')]), record)).toBe(false);
    }
  });

  test.each(['relaxed/relaxed', 'relaxed/simple', 'simple/relaxed', 'simple/simple'])(
    'we accept what dkimpy signs as %s',
    async (canonicalization) => {
      const { headers, body } = encryptedMessage();
      const program = `
import dkim, sys
head, body = (c.encode() for c in sys.argv[2].split('/'))
message = sys.stdin.buffer.read()
sys.stdout.buffer.write(dkim.sign(message, b's1', b'${domain}', sys.argv[1].encode(), canonicalize=(head, body)))
`;
      const input = Buffer.concat([encodeHeaders(headers), body]);
      const { stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', program, key, canonicalization], {
        input,
      });
      expect(stderr.toString()).toBe('');
      const signature = parseHeaderSection(stdout.toString('latin1').replace(/\r\n$/, ''));
      expect(signature).toHaveLength(1);
      const message = { headers: [...(signature ?? []), ...headers], body };
      const { signal } = new AbortController();
      expect(await verifier.verify(message, domain, { signal })).toBe('pass');
      const changed = { ...message, body: Buffer.concat([body, Buffer.from('x')]) };
      expect(await verifier.verify(changed, domain, { signal })).toBe('fail');
    },
  );
});
