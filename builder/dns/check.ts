/** `dns check`: from a relay's description to a report. */
import { isIPv4 } from 'node:net';
import { messageOf } from '../../appliance/base/errors.ts';
import { dkimSelector, wantedRecords } from '../../appliance/contract/dns-records.ts';
import { checkDns, type CheckReport } from '../../appliance/dns/check.ts';
import { bySeverity, type Finding } from '../../appliance/dns/findings.ts';
import { addressesOf, findDelegation, type LookupContext } from '../../appliance/dns/delegation.ts';
import { surveyDns } from '../../appliance/dns/survey.ts';
import type { RelayDescription } from './relay.ts';

/** The relay with the addresses that DNS has for it, where no flag names any. */
export async function withPublishedAddresses(
  relay: RelayDescription,
  context: LookupContext,
): Promise<RelayDescription> {
  const { input, domain } = relay;
  if (domain.kind === 'ip' || input.ipv4.length + input.ipv6.length > 0) return relay;
  const found = await addressesOf(domain.name, context);
  const ipv4 = found.filter((address) => isIPv4(address));
  return { ...relay, input: { ...input, ipv4, ipv6: found.filter((address) => !ipv4.includes(address)) } };
}

/**
 * @param domainName of the relay; one at an IP address has nothing to check
 * @throws LookupError when nothing can be asked
 */
export async function checkRelay(
  domainName: string,
  described: RelayDescription,
  context: LookupContext,
): Promise<CheckReport> {
  const delegation = await findDelegation(domainName, context);
  const relay = await withPublishedAddresses(described, context);
  const addresses = [...relay.input.ipv4, ...relay.input.ipv6];
  // A pin in an unsigned zone means nothing to anybody (RFC 7672 §2.1).
  const signed = delegation.dnssec !== 'unsigned';
  const input = signed ? relay.input : { ...relay.input, tlsaSpkiSha256: undefined };
  const wanted = wantedRecords(input);
  const survey = await surveyDns(delegation, { domainName, wanted, addresses }, context);
  const report = checkDns(wanted, survey, { domainName, addresses });
  const extra = [
    ...(addresses.length === 0 ? [noAddress(domainName)] : []),
    ...(relay.input.dkimKeys.length === 0 ? [noKey(domainName, relay.folder.path)] : []),
  ];
  return {
    ...report,
    findings: [...extra, ...report.findings].sort(bySeverity),
    ok: report.ok && extra.every(({ severity }) => severity !== 'error'),
  };
}

function noAddress(domainName: string): Finding {
  return {
    severity: 'error',
    code: 'missing',
    name: domainName,
    type: 'A',
    message: `${domainName} has no address, so nobody finds the relay`,
    fix: 'Say which address it has with --ipv4 or --ipv6, and add the line',
    add: [`${domainName}. 3600 IN A <the address>`],
    remove: [],
  };
}

function noKey(domainName: string, folder: string): Finding {
  return {
    severity: 'warning',
    code: 'wrong',
    name: `${dkimSelector}._domainkey.${domainName}`,
    type: 'TXT',
    message: `There is no DKIM key in ${folder}, so the published one could not be compared`,
    fix: 'Name the directory with the keys of this relay with --keys; "dns show" makes a key where there is none',
    add: [],
    remove: [],
  };
}

/** Who serves a domain, or why that can't be told: for messages, where it must not fail. */
export async function servingNames(
  domainName: string,
  context: LookupContext,
): Promise<{ names: readonly string[]; problem: string | null }> {
  try {
    const { zoneNames } = await findDelegation(domainName, context);
    return { names: zoneNames, problem: null };
  } catch (error) {
    context.signal.throwIfAborted();
    return { names: [], problem: messageOf(error) };
  }
}
