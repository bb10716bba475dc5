/**
 * `--dns PROVIDER` of the build: what can be refused is refused before the long work, and the records follow
 * when the image is there.
 */
import { plainDomain } from '../../appliance/contract/domain.ts';
import { noRecordsReason } from '../../appliance/contract/dns-records.ts';
import { type LookupContext, LookupError } from '../../appliance/dns/delegation.ts';
import type { CommandContext } from '../cli/command.ts';
import { CliError } from '../cli/errors.ts';
import type { Progress } from '../cli/progress.ts';
import type { DeviceCredentials } from '../seed-secrets.ts';
import { checkRelay } from './check.ts';
import { chooseProvider, completeCredentials, knownCredentials } from './credentials.ts';
import { openZone, parseWait, pushRecords, refuseUnasked } from './push.ts';
import { describeRelay, type RelayDescription, type RelayFlags } from './relay.ts';
import { coloured, plain } from './text.ts';
import { type DnsWorld, realWorld } from './world.ts';

export interface BuildDnsFlags extends RelayFlags {
  readonly dns?: string | undefined;
  readonly 'dns-on-device'?: boolean | undefined;
  readonly credentials?: string | undefined;
  readonly yes?: boolean | undefined;
  readonly replace?: boolean | undefined;
  readonly wait?: string | undefined;
  readonly resolver?: readonly string[] | undefined;
}

/** Flags of the build that mean something with `--dns` only. */
export const dnsOnlyFlags = [
  'dns-on-device',
  'credentials',
  'yes',
  'replace',
  'wait',
  'resolver',
  'ipv4',
  'ipv6',
] as const;

export interface BuildDns {
  /** What goes to the device, where the operator asks for that. */
  readonly onDevice: DeviceCredentials | null;
  /**
   * Publishes the records; makes the DKIM key where it is missing.
   * @returns true when the name is as it shall be
   */
  publish(): Promise<boolean>;
}

/**
 * Checks flags, credentials and zone. Writes nothing, here or there.
 * @throws CliError, ConfigError, ProviderError
 */
export async function prepareBuildDns(
  provider: string,
  flags: BuildDnsFlags,
  context: CommandContext,
  progress: Progress,
  world: DnsWorld = realWorld(flags.resolver ?? [], context.clock),
): Promise<BuildDns> {
  const waitSec = parseWait(flags.wait);
  const relay = await describeRelay(flags, false, context);
  const reason = noRecordsReason(relay.domain);
  if (reason !== null) throw new CliError('usage', reason, { fix: 'Leave --dns out' });
  const domainName = plainDomain(relay.domain);
  const known = await knownCredentials(flags.credentials, relay.folder, context);
  const definition = chooseProvider(provider, known, []);
  refuseUnasked(flags.yes === true, context);
  const credentials = await completeCredentials(definition, known, context);
  const client = await definition.create(credentials, world.provider);
  const base = { domainName, definition, provider: client, world, context, progress };
  const opened = await openZone(base);
  const onDevice = flags['dns-on-device'] === true;

  return {
    onDevice: onDevice ? { definition, credentials } : null,
    publish: async () => {
      const made = await describeRelay(flags, true, context);
      const input = { ...made.input, addressesChange: onDevice };
      const session = {
        ...base,
        relay: { ...made, input },
        paint: context.stderr.isTTY === true ? coloured : plain,
        flags: {
          yes: flags.yes === true,
          replace: flags.replace === true,
          dryRun: false,
          waitSec,
          addressesMayLack: true,
        },
      };
      const done = await pushRecords(session, opened);
      const found = await client.list(opened.zone, [domainName], { signal: context.signal });
      const hasAddress = found.some(({ type }) => type === 'A' || type === 'AAAA');
      const lookup = { ...world.lookup, signal: context.signal };
      const ready = done && hasAddress && (await isReady(domainName, session.relay, lookup));
      if (!hasAddress) {
        progress.note(
          onDevice
            ? `! ${domainName} has no address yet: the relay publishes it within minutes of its first start`
            : `! ${domainName} has no address yet. When it is known: chatmail-build dns push --domain ${domainName} --provider ${definition.name} --ipv4 ADDRESS`,
        );
      }
      if (ready) progress.note(`✓ ${domainName} is ready: all its name servers have what the relay needs`);
      progress.event('dns', { name: domainName, ready, hasAddress });
      return done;
    },
  };
}

/** Whether the world sees every record without which mail or sign-in would fail. */
async function isReady(domainName: string, relay: RelayDescription, lookup: LookupContext): Promise<boolean> {
  try {
    const { records } = await checkRelay(domainName, relay, lookup);
    return records.every(({ wanted, state }) => wanted.level !== 'required' || state === 'fine');
  } catch (error) {
    if (error instanceof LookupError) return false;
    throw error;
  }
}
