import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { txtValue, wantedRecords } from '../../../appliance/contract/dns-records.ts';
import {
  type DoneChange,
  planPush,
  planUndo,
  type PushPlan,
  withoutReplacements,
} from '../../../appliance/dns/plan.ts';
import type { HeldRecordSet } from '../../../appliance/dns/provider.ts';

const domainName = 'chat.example.org';
const wanted = wantedRecords({
  domain: parseDomain(domainName),
  ipv4: ['203.0.113.5'],
  ipv6: [],
  dkimKeys: [{ selector: 'opendkim', algorithm: 'rsa', publicKeyBase64: 'MIIB'.repeat(98) }],
});
const judgement = { domainName, addresses: ['203.0.113.5'] };
const plan = (
  held: readonly HeldRecordSet[],
  owned: readonly HeldRecordSet[] = [],
  unsupportedTypes: string[] = [],
) => planPush({ wanted, held, owned, unsupportedTypes, judgement });
const changes = (one: PushPlan) => one.steps.flatMap((step) => step.changes);
const set = (name: string, type: string, ...values: string[]): HeldRecordSet => ({
  name,
  type,
  ttlSec: 300,
  values,
});

/** The records after a plan, as a provider would hold them. */
function applied(held: readonly HeldRecordSet[], one: PushPlan): HeldRecordSet[] {
  const sets = new Map(held.map((each) => [`${each.name} ${each.type}`, each]));
  for (const step of one.steps) {
    for (const { name, type, after } of step.changes) if (after === null) sets.delete(`${name} ${type}`);
    for (const { name, type, after } of step.changes) if (after !== null) sets.set(`${name} ${type}`, after);
  }
  return [...sets.values()];
}
const sorted = (sets: readonly HeldRecordSet[]) =>
  sets
    .map((each) => ({ ...each, values: [...each.values].sort() }))
    .sort((a, b) => (a.name + a.type < b.name + b.type ? -1 : 1));

describe('planPush', () => {
  test('an empty zone gets everything: names and keys, then the MX, then the policies', () => {
    const one = plan([]);
    expect(one.steps.map(({ title }) => title)).toEqual([
      'Addresses, names and keys',
      'Mail exchanger',
      'Policies',
    ]);
    const steps = one.steps.map((step) =>
      step.changes.map(({ name, type }) => `${name.split('.chat')[0]} ${type}`),
    );
    expect(steps[0]).toContain('opendkim._domainkey TXT');
    expect(steps[0]).toContain('chat.example.org TXT');
    expect(steps[1]).toEqual(['chat.example.org MX']);
    expect(steps[2]).toEqual(['_mta-sts TXT', '_dmarc TXT', 'chat.example.org CAA', '_adsp._domainkey TXT']);
    expect(changes(one).every(({ replacesForeign, before }) => !replacesForeign && before === null)).toBe(
      true,
    );
  });

  test('what was planned leaves nothing to plan', () => {
    const after = applied([], plan([]));
    expect(plan(after).steps).toEqual([]);
    expect(plan(after).fine).toHaveLength(wanted.length);
  });

  test('texts of other purposes are kept, and kept out of the question', () => {
    const held = [set(domainName, 'TXT', txtValue('google-site-verification=1'))];
    const spf = changes(plan(held)).find(({ type, name }) => type === 'TXT' && name === domainName);
    expect(spf).toMatchObject({ replacesForeign: false, before: held[0] });
    expect(spf?.after?.values).toEqual([txtValue('google-site-verification=1'), txtValue('v=spf1 a ~all')]);
  });

  test('what others published is replaced only when asked for; what we published is simply updated', () => {
    const old = set(domainName, 'MX', '10 old.example.net.');
    const foreign = changes(plan([old])).find(({ type }) => type === 'MX');
    expect(foreign).toMatchObject({ replacesForeign: true, before: old });
    const ours = changes(plan([old], [old])).find(({ type }) => type === 'MX');
    expect(ours).toMatchObject({ replacesForeign: false });
    expect(changes(withoutReplacements(plan([old]))).map(({ type }) => type)).not.toContain('MX');
  });

  test('a CNAME in the way goes first, once, and all that depends on it is one decision', () => {
    const held = [set(domainName, 'CNAME', 'host.example.net.')];
    const one = plan(held);
    const at = changes(one).filter(({ name }) => name === domainName);
    expect(at[0]).toMatchObject({ type: 'CNAME', after: null, replacesForeign: true });
    expect(at.filter(({ type }) => type === 'CNAME')).toHaveLength(1);
    expect(changes(withoutReplacements(one)).some(({ name }) => name === domainName)).toBe(false);
    expect(plan(applied(held, one)).steps).toEqual([]);
  });

  test('addresses where an alias should be go first; addresses of the relay itself may stay', () => {
    const name = `www.${domainName}`;
    const at = changes(plan([set(name, 'A', '192.0.2.99')])).filter((change) => change.name === name);
    expect(at).toMatchObject([
      { type: 'A', after: null, replacesForeign: true },
      { type: 'CNAME', before: null },
    ]);
    expect(changes(plan([set(name, 'A', '203.0.113.5')])).filter((change) => change.name === name)).toEqual(
      [],
    );
  });

  test('a proxied address is replaced by a plain one, after asking', () => {
    const held: HeldRecordSet = { ...set(domainName, 'A', '203.0.113.5'), altered: 'proxied' };
    const change = changes(plan([held])).find(({ type }) => type === 'A');
    expect(change).toMatchObject({ replacesForeign: true, reason: expect.stringContaining('proxy') });
    expect(change?.after).not.toHaveProperty('altered');
  });

  test('what the provider can not hold is said, and not planned', () => {
    const one = plan([], [], ['SRV']);
    expect(one.unsupported).toHaveLength(4);
    expect(changes(one).map(({ type }) => type)).not.toContain('SRV');
  });
});

describe('planUndo', () => {
  const undone = (held: readonly HeldRecordSet[]) => {
    const one = plan(held);
    const done: DoneChange[] = changes(one);
    const after = applied(held, one);
    return { done, after, back: planUndo(done, after) };
  };

  test('leads back to what was there', () => {
    const held = [
      set(domainName, 'MX', '10 old.example.net.'),
      set(domainName, 'TXT', txtValue('v=spf1 -all'), txtValue('other')),
      set(`www.${domainName}`, 'A', '192.0.2.99'),
      set(`opendkim._domainkey.${domainName}`, 'TXT', txtValue('p=AAAA')),
    ];
    const { after, back } = undone(held);
    expect(sorted(applied(after, back))).toEqual(sorted(held));
    expect(changes(back).every(({ replacesForeign }) => !replacesForeign)).toBe(true);
  });

  test('leads back from any half of a push too', () => {
    const names = [domainName, `www.${domainName}`, `_dmarc.${domainName}`];
    const anySet = fc
      .record({ name: fc.constantFrom(...names), type: fc.constantFrom('A', 'MX', 'TXT') })
      .map(({ name, type }) =>
        set(
          name,
          type,
          { A: '192.0.2.99', MX: '10 old.example.net.', TXT: txtValue('v=spf1 -all') }[type] ?? '',
        ),
      );
    fc.assert(
      fc.property(
        fc.uniqueArray(anySet, { selector: (one) => one.name + one.type }),
        fc.nat(20),
        (held, made) => {
          const one = plan(held);
          const half: PushPlan = { ...one, steps: [{ title: '', changes: changes(one).slice(0, made) }] };
          const after = applied(held, half);
          expect(sorted(applied(after, planUndo(changes(one), after)))).toEqual(sorted(held));
          // And a second push completes it.
          const completed = applied(
            after,
            plan(
              after,
              changes(one).flatMap((change) => change.after ?? []),
            ),
          );
          expect(plan(completed).steps).toEqual([]);
        },
      ),
    );
  });

  test('what somebody changed since is theirs, and asked for', () => {
    const { done, after } = undone([]);
    const later = after.map((one) =>
      one.type === 'MX' ? { ...one, values: ['10 later.example.net.'] } : one,
    );
    const mx = changes(planUndo(done, later)).find(({ type }) => type === 'MX');
    expect(mx).toMatchObject({ replacesForeign: true, after: null });
  });
});
