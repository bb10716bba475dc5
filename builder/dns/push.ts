/** `dns push` and `dns push --undo`: plan, show, ask, write down, do, wait. */
import { type WantedRecord, wantedRecords } from '../../appliance/contract/dns-records.ts';
import {
  findDelegation,
  type LookupContext,
  LookupError,
  type ZoneDelegation,
} from '../../appliance/dns/delegation.ts';
import { type PushPlan, planPush, planUndo, withoutReplacements } from '../../appliance/dns/plan.ts';
import { providerOfNameServers } from '../../appliance/dns/providers/index.ts';
import {
  type DnsProvider,
  type HeldRecordSet,
  type ProviderDefinition,
  ProviderError,
  type Zone,
} from '../../appliance/dns/provider.ts';
import { applyPlan, waitUntilVisible } from '../../appliance/dns/push.ts';
import type { CommandContext } from '../cli/command.ts';
import { CliError } from '../cli/errors.ts';
import type { Progress } from '../cli/progress.ts';
import { askYesNo, canAsk } from './ask.ts';
import { type Journal, readJournal, withoutLastPush, withPush, writeJournal } from './journal.ts';
import type { RelayDescription } from './relay.ts';
import { type Paint, planText, plural } from './text.ts';
import type { DnsWorld } from './world.ts';

export interface PushFlags {
  readonly yes: boolean;
  readonly replace: boolean;
  readonly dryRun: boolean;
  /** 0: do not wait for visibility. */
  readonly waitSec: number;
  /** Publishes the rest where no address is known yet, instead of refusing. Default false. */
  readonly addressesMayLack?: boolean;
}

/** @throws CliError 'usage' for what is no number of seconds */
export function parseWait(text = '180'): number {
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw new CliError('usage', `--wait ${JSON.stringify(text)} is not a number of seconds`);
}

/** @throws CliError 'usage' where changes can be neither asked for nor are wanted unasked */
export function refuseUnasked(yes: boolean, context: CommandContext): void {
  if (yes || canAsk(context)) return;
  throw new CliError('usage', 'Nobody can be asked whether to make these changes', {
    fix: 'Add --yes to make them, and --replace to also replace records that were not published by us',
  });
}

export interface PushSession {
  readonly domainName: string;
  readonly relay: RelayDescription;
  readonly definition: ProviderDefinition;
  readonly provider: DnsProvider;
  readonly world: DnsWorld;
  readonly context: CommandContext;
  readonly progress: Progress;
  readonly paint: Paint;
  readonly flags: PushFlags;
}

export interface OpenZone {
  /** At the provider. */
  readonly zone: Zone;
  /** What the world asks; null when that can't be told. */
  readonly delegation: ZoneDelegation | null;
}

/**
 * @param opened what openZone said before; asked again without it
 * @returns true when everything planned is done and visible, or nothing was to do
 */
export async function pushRecords(session: PushSession, opened?: OpenZone): Promise<boolean> {
  const { zone, delegation } = opened ?? (await openZone(session));
  const journal = await readJournal(session.relay.folder);
  const { wanted, held, addresses } = await wantedAndHeld(session, zone, delegation);
  const plan = planPush({
    wanted,
    held,
    owned: journal.owned,
    unsupportedTypes: session.provider.unsupportedTypes,
    judgement: { domainName: session.domainName, addresses },
  });
  const done = await carryOut(session, zone, delegation, plan, journal);
  if (done && plan.steps.length > 0 && !session.flags.dryRun) {
    session.progress.note('To take it back: chatmail-build dns push --undo, with the same --domain');
  }
  return done;
}

/** Takes the last push back. */
export async function undoPush(session: PushSession): Promise<boolean> {
  const journal = await readJournal(session.relay.folder);
  const last = journal.pushes.at(-1);
  if (last === undefined) {
    throw new CliError('usage', `Nothing was pushed for ${session.domainName} from here`, {
      fix: 'The key folder with dns-state.json may be elsewhere: name it with --keys',
    });
  }
  const { zone, delegation } = await openZone(session);
  if (zone.name !== last.zone) {
    throw new CliError('usage', `The last push went to the zone ${last.zone}, but this is ${zone.name}`, {
      fix: `Use the provider it went to: --provider ${last.provider}`,
    });
  }
  const names = [...new Set(last.changes.map(({ name }) => name))];
  const held = await session.provider.list(zone, names, { signal: session.context.signal });
  const done = await carryOut(session, zone, delegation, planUndo(last.changes, held), null);
  if (done && !session.flags.dryRun) await writeJournal(session.relay.folder, withoutLastPush(journal));
  return done;
}

/**
 * The zone at the provider, and who the world asks; a mismatch is said, and no reason to stop.
 * @throws ProviderError
 */
export async function openZone(session: Omit<PushSession, 'relay' | 'flags' | 'paint'>): Promise<OpenZone> {
  const { context, world, domainName, provider, definition, progress } = session;
  const lookup: LookupContext = { ...world.lookup, signal: context.signal };
  return progress.step(
    `Zone at ${definition.title}`,
    async () => {
      let problem: string | null = null;
      const [found, delegation] = await Promise.all([
        provider.findZone(domainName, { signal: context.signal }).catch((error: unknown) => {
          if (error instanceof ProviderError && error.code === 'zone-not-found') return error;
          throw error;
        }),
        findDelegation(domainName, lookup).catch((error: unknown) => {
          if (!(error instanceof LookupError)) throw error;
          problem = error.message;
          return null;
        }),
      ]);
      if (found instanceof ProviderError) throw withServingProvider(found, domainName, delegation);
      for (const text of elsewhere(found, definition, delegation, problem)) progress.note(`! ${text}`);
      return { zone: found, delegation };
    },
    ({ zone }) => zone.name,
  );
}

function withServingProvider(
  error: ProviderError,
  domainName: string,
  delegation: ZoneDelegation | null,
): ProviderError {
  if (delegation === null) return error;
  const serving = providerOfNameServers(delegation.zoneNames);
  const by = serving === undefined ? delegation.zoneNames.join(', ') : serving.title;
  const fix =
    serving === undefined
      ? `Use the provider that runs ${delegation.zoneNames[0] ?? 'its name servers'}, or enter the records of "dns show" there by hand`
      : `Use its token: --provider ${serving.name}`;
  return new ProviderError('zone-not-found', `${error.message}; ${domainName} is served by ${by}`, {
    cause: error,
    fix,
  });
}

function elsewhere(
  zone: Zone,
  definition: ProviderDefinition,
  delegation: ZoneDelegation | null,
  problem: string | null,
): string[] {
  if (delegation === null) return [`${problem ?? ''}: what is pushed can't be seen yet`];
  if (delegation.zone !== zone.name) {
    return [`The world finds ${delegation.zone}, while the provider's zone is ${zone.name}`];
  }
  const asked = delegation.zoneNames;
  const listed = zone.nameServers.length === 0 || zone.nameServers.some((name) => asked.includes(name));
  const serving = providerOfNameServers(asked);
  if (listed && (serving === undefined || serving === definition || zone.nameServers.length > 0)) return [];
  const names = zone.nameServers.length > 0 ? ` to ${zone.nameServers.join(', ')}` : '';
  return [
    `The world asks ${asked.join(', ')}, not ${definition.title}: what is pushed is not seen until the registrar delegates ${zone.name}${names}`,
  ];
}

/** Without addresses in flags, those that the provider holds are the relay's. */
async function wantedAndHeld(session: PushSession, zone: Zone, delegation: ZoneDelegation | null) {
  const { relay, domainName, provider, context, progress } = session;
  const options = { signal: context.signal };
  return progress.step('Records there now', async () => {
    let { input } = relay;
    if (delegation === null || delegation.dnssec === 'unsigned')
      input = { ...input, tlsaSpkiSha256: undefined };
    if (input.ipv4.length + input.ipv6.length === 0) {
      const own = await provider.list(zone, [domainName], options);
      const at = (type: string) =>
        own.filter((set) => set.type === type && set.altered === undefined).flatMap(({ values }) => values);
      input = { ...input, ipv4: at('A'), ipv6: at('AAAA') };
    }
    const addresses = [...input.ipv4, ...input.ipv6];
    if (addresses.length === 0 && session.flags.addressesMayLack !== true) {
      throw new CliError('usage', `${domainName} has no address yet, and none is given`, {
        fix: 'Say which address the relay has: --ipv4 ADDRESS, --ipv6 ADDRESS or both',
      });
    }
    const wanted: readonly WantedRecord[] = wantedRecords(input);
    const names = [...new Set(wanted.map(({ name }) => name))];
    const held: readonly HeldRecordSet[] = await provider.list(zone, names, options);
    return { wanted, held, addresses };
  });
}

/** @param journal to be written to before anything is done; null when a push is being taken back */
async function carryOut(
  session: PushSession,
  zone: Zone,
  delegation: ZoneDelegation | null,
  whole: PushPlan,
  journal: Journal | null,
): Promise<boolean> {
  const { progress, flags, context } = session;
  announce(session, whole);
  if (whole.steps.length === 0) {
    progress.note('Nothing to do: everything is as it should be');
    progress.event('result', { ok: true, changed: 0, left: 0 });
    return true;
  }
  const plan = flags.dryRun ? null : await agree(session, whole);
  const left = countChanges(whole) - (plan === null ? 0 : countChanges(plan));
  if (plan === null || plan.steps.length === 0) {
    progress.note(flags.dryRun ? 'Nothing was changed (--dry-run)' : 'Nothing was changed');
    progress.event('result', { ok: flags.dryRun, changed: 0, left });
    return flags.dryRun;
  }
  if (journal !== null) {
    const changes = plan.steps.flatMap((step) => step.changes);
    const at = context.clock().toISOString();
    const push = { at, provider: session.definition.name, zone: zone.name, changes };
    await writeJournal(session.relay.folder, withPush(journal, push));
  }
  const visible = await perform(session, zone, delegation, plan);
  if (left > 0) progress.note(`${plural(left, 'change')} left undone: run again with --replace`);
  progress.event('result', { ok: visible && left === 0, changed: countChanges(plan), left, visible });
  return visible && left === 0;
}

function announce({ progress, paint }: PushSession, plan: PushPlan): void {
  const text = planText(plan, paint).trimEnd();
  if (text !== '') progress.note(text);
  for (const { title, changes } of plan.steps) {
    for (const { name, type, before, after, reason, replacesForeign } of changes) {
      progress.event('change', { step: title, name, type, before, after, reason, replacesForeign });
    }
  }
  for (const { name, type } of plan.unsupported) progress.event('unsupported', { name, type });
}

const countChanges = (plan: PushPlan) => plan.steps.reduce((sum, step) => sum + step.changes.length, 0);

/** What the operator lets us do: everything, all but replacing what is not ours, or (null) nothing. */
async function agree(session: PushSession, plan: PushPlan): Promise<PushPlan | null> {
  const { flags, context } = session;
  const safe = withoutReplacements(plan);
  const foreign = countChanges(plan) - countChanges(safe);
  refuseUnasked(flags.yes, context);
  const asking = !flags.yes;
  if (foreign > 0 && !flags.replace) {
    const question = `Replace ${plural(foreign, 'record set')} not published by us?`;
    if (asking && (await askYesNo(question, context))) return plan;
    if (countChanges(safe) === 0) return null;
    return !asking || (await askYesNo(`Make the other ${plural(countChanges(safe), 'change')}?`, context))
      ? safe
      : null;
  }
  return !asking || (await askYesNo(`Make ${plural(countChanges(plan), 'change')}?`, context)) ? plan : null;
}

async function perform(
  session: PushSession,
  zone: Zone,
  delegation: ZoneDelegation | null,
  plan: PushPlan,
): Promise<boolean> {
  const { progress, world, context, flags } = session;
  const lookup: LookupContext = { ...world.lookup, signal: context.signal };
  let visible = true;
  for (const step of plan.steps) {
    await progress.step(
      step.title,
      () => applyPlan(session.provider, zone, { ...plan, steps: [step] }, { signal: context.signal }),
      () => plural(step.changes.length, 'change'),
    );
    if (delegation === null || delegation.zone !== zone.name || flags.waitSec === 0) continue;
    const result = await progress.step(
      'Visible on the name servers',
      (shown) =>
        waitUntilVisible(delegation, step.changes, lookup, {
          timeoutMs: flags.waitSec * 1000,
          sleep: world.provider.sleep,
          now: world.now,
          onProgress: (seen, total) => shown.update(`${seen} of ${total}`),
        }),
      (found) => (found.visible ? '' : 'not yet'),
    );
    if (!result.visible) {
      visible = false;
      progress.note(`! Not seen after ${flags.waitSec} s: ${result.waitingFor.slice(0, 5).join('; ')}`);
    }
  }
  return visible;
}
