/** `chatmail-build dns show|check|push`. */
import { plainDomain } from '../../../appliance/contract/domain.ts';
import { noRecordsReason, wantedRecords } from '../../../appliance/contract/dns-records.ts';
import { LookupError } from '../../../appliance/dns/delegation.ts';
import { providers } from '../../../appliance/dns/providers/index.ts';
import { zoneFile } from '../../../appliance/dns/zone-text.ts';
import { checkRelay, servingNames, withPublishedAddresses } from '../../dns/check.ts';
import { chooseProvider, completeCredentials, knownCredentials } from '../../dns/credentials.ts';
import { parseWait, pushRecords, undoPush } from '../../dns/push.ts';
import { describeRelay, type RelayDescription } from '../../dns/relay.ts';
import { coloured, plain, recordTable, reportText } from '../../dns/text.ts';
import { type DnsWorld, realWorld } from '../../dns/world.ts';
import { newKeyNote } from '../../keys.ts';
import { type Command, type CommandContext, parseFlags } from '../command.ts';
import { CliError } from '../errors.ts';
import { createProgress } from '../progress.ts';

const help = `chatmail-build dns show --domain NAME     prints every record the relay wants, and why
chatmail-build dns check --domain NAME    asks the name servers, and says what is wrong
chatmail-build dns push --domain NAME     publishes the records through a provider's interface

The relay
  --domain NAME            such as chat.example.org (or in the file of --config)
  --ipv4 ADDRESS           its public address; may be given more than once. Without --ipv4 and
  --ipv6 ADDRESS           --ipv6 the addresses that the domain has already are taken
  --keys DIR               where the keys are (default ~/.config/chatmail-build)
  --ed25519                publish a second DKIM key, Ed25519; build the image with it too
  --acme-account URL       let only this account have certificates
  --tls-report URI         where others report TLS failures to (mailto:… or https://…)
  --tls-certificate FILE   pin this certificate for mail (DANE), where the zone is signed
  --autoconfig             also publish autoconfig.NAME
  --config FILE            the configuration of the build

show
  --format zone|table      a zone file (default), or a table

check
  --resolver ADDRESS       ask this resolver (default: the system's and three public ones)
  --strict                 fail on warnings too

push
  --provider NAME          one of those below; default: the one whose credentials are set, or that
                           serves the domain
  --credentials FILE       NAME=value lines, mode 0600 (default: dns-credentials beside the keys,
                           then the environment, then a question); their names are below
  --dry-run                only show what would change
  --yes                    do not ask; records that we did not publish stay
  --replace                with --yes: also replace records that we did not publish
  --wait SECONDS           how long each step may take to be seen (default 180, 0: do not wait)
  --undo                   take the last push back

Providers and their credentials
${providers
  .map(
    ({ name, credentials }) =>
      `  ${name.padEnd(13)} ${credentials.map(({ variable, optional }) => (optional === true ? `[${variable}]` : variable)).join(', ')}`,
  )
  .join('\n')}

Exit codes: 0 all is well, 1 something is wrong or left undone, 2 wrong usage.
`;

const options = {
  domain: { type: 'string' },
  config: { type: 'string' },
  ipv4: { type: 'string', multiple: true },
  ipv6: { type: 'string', multiple: true },
  keys: { type: 'string' },
  ed25519: { type: 'boolean' },
  'acme-account': { type: 'string' },
  'tls-report': { type: 'string' },
  'tls-certificate': { type: 'string' },
  autoconfig: { type: 'boolean' },
  format: { type: 'string' },
  resolver: { type: 'string', multiple: true },
  strict: { type: 'boolean' },
  provider: { type: 'string' },
  credentials: { type: 'string' },
  'dry-run': { type: 'boolean' },
  yes: { type: 'boolean' },
  replace: { type: 'boolean' },
  wait: { type: 'string' },
  undo: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

const verbs = ['show', 'check', 'push'] as const;
/** Flags that mean something to one verb only. */
const only: Readonly<Record<string, readonly string[]>> = {
  show: ['format'],
  check: ['strict'],
  push: ['provider', 'credentials', 'dry-run', 'yes', 'replace', 'wait', 'undo'],
};

function parse(args: readonly string[]) {
  const { values, positionals } = parseFlags(args, options, { max: 1 });
  const verb = verbs.find((name) => name === positionals[0]);
  if (verb === undefined) {
    const given = positionals[0];
    throw new CliError('usage', given === undefined ? 'dns what?' : `There is no "dns ${given}"`, {
      fix: 'Say dns show, dns check or dns push',
    });
  }
  for (const [other, flags] of Object.entries(only)) {
    const misplaced = flags.find((flag) => other !== verb && Object.hasOwn(values, flag));
    if (misplaced !== undefined) throw new CliError('usage', `--${misplaced} belongs to "dns ${other}"`);
  }
  return { verb, values };
}

type Values = ReturnType<typeof parse>['values'];

export const command: Command = {
  name: 'dns',
  summary: 'shows, checks and publishes the DNS records of a relay',
  help,
  run: (args, context) => runDns(args, context),
};

/** @param world the network; tests bring their own */
export async function runDns(
  args: readonly string[],
  context: CommandContext,
  world?: DnsWorld,
): Promise<number> {
  const { verb, values } = parse(args);
  const used = world ?? realWorld(values.resolver ?? [], context.clock);
  // A check without a local key is still worth something, and must not leave files behind.
  const relay = await describeRelay(values, verb !== 'check' && values.undo !== true, context);
  const reason = noRecordsReason(relay.domain);
  const progress = createProgress(context, values.json === true);
  if (reason !== null) {
    progress.note(reason);
    progress.event('result', { ok: true, records: 0, reason });
    return 0;
  }
  if (relay.newDkimKey) progress.note(newKeyNote(relay.folder.path));
  if (relay.newEd25519Key) {
    progress.note('Made an Ed25519 key: a relay signs with it once it runs from an image built after this');
  }
  switch (verb) {
    case 'show':
      return show(values, relay, context, used);
    case 'check':
      return check(values, relay, context, used);
    case 'push':
      return push(values, relay, context, used);
  }
}

async function show(
  values: Values,
  described: RelayDescription,
  context: CommandContext,
  world: DnsWorld,
): Promise<number> {
  const format = values.format ?? 'zone';
  if (format !== 'zone' && format !== 'table') {
    throw new CliError('usage', `There is no format ${JSON.stringify(format)}`, {
      fix: 'Say --format zone, --format table or --json',
    });
  }
  const relay = await withPublishedAddresses(described, { ...world.lookup, signal: context.signal }).catch(
    (error: unknown) => {
      if (error instanceof LookupError) return described;
      throw error;
    },
  );
  if (relay.input.ipv4.length + relay.input.ipv6.length === 0) {
    throw new CliError('usage', `${plainDomain(relay.domain)} has no address yet, and none is given`, {
      fix: 'Say which address the relay has: --ipv4 ADDRESS, --ipv6 ADDRESS or both',
    });
  }
  const records = wantedRecords(relay.input);
  if (values.json === true) {
    for (const record of records) context.stdout.write(`${JSON.stringify({ event: 'record', ...record })}\n`);
    context.stdout.write(`${JSON.stringify({ event: 'result', ok: true, records: records.length })}\n`);
  } else {
    const name = plainDomain(relay.domain);
    context.stdout.write(format === 'zone' ? zoneFile(name, records) : recordTable(records));
  }
  return 0;
}

async function check(
  values: Values,
  relay: RelayDescription,
  context: CommandContext,
  world: DnsWorld,
): Promise<number> {
  const progress = createProgress(context, values.json === true);
  const name = plainDomain(relay.domain);
  const lookup = { ...world.lookup, signal: context.signal };
  const report = await progress.step('Asking the name servers', () => checkRelay(name, relay, lookup));
  for (const { wanted, state } of report.records) {
    progress.event('record', {
      name: wanted.name,
      type: wanted.type,
      purpose: wanted.purpose,
      level: wanted.level,
      state,
    });
  }
  for (const finding of report.findings) progress.event('finding', { ...finding });
  const warnings = report.findings.filter(({ severity }) => severity === 'warning').length;
  const ok = report.ok && (values.strict !== true || warnings === 0);
  const errors = report.findings.filter(({ severity }) => severity === 'error').length;
  progress.event('result', { ok, errors, warnings });
  if (values.json !== true) {
    context.stdout.write(reportText(report, context.stdout.isTTY === true ? coloured : plain));
  }
  return ok ? 0 : 1;
}

async function push(
  values: Values,
  relay: RelayDescription,
  context: CommandContext,
  world: DnsWorld,
): Promise<number> {
  const waitSec = parseWait(values.wait);
  const domainName = plainDomain(relay.domain);
  const known = await knownCredentials(values.credentials, relay.folder, context);
  const serving =
    values.provider === undefined
      ? await servingNames(domainName, { ...world.lookup, signal: context.signal })
      : { names: [] };
  const definition = chooseProvider(values.provider, known, serving.names);
  const credentials = await completeCredentials(definition, known, context);
  const provider = await definition.create(credentials, world.provider);
  const session = {
    domainName,
    relay,
    definition,
    provider,
    world,
    context,
    progress: createProgress(context, values.json === true),
    paint: context.stderr.isTTY === true ? coloured : plain,
    flags: {
      yes: values.yes === true,
      replace: values.replace === true,
      dryRun: values['dry-run'] === true,
      waitSec,
    },
  };
  const done = values.undo === true ? await undoPush(session) : await pushRecords(session);
  return done ? 0 : 1;
}
