/**
 * Any name server that takes signed dynamic updates: RFC 2136 with RFC 8945 (Knot, BIND, PowerDNS, NSD's
 * hidden primaries …). One update carries all changes of a call, and the server applies it wholly or not
 * at all. Reading needs no zone transfer: the primary is asked for each name and type.
 */
import { randomInt } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { exchangeBytes, NoAnswerError, type NameServer } from '../exchange.ts';
import {
  classes,
  decodeMessage,
  emptyMessage,
  encodeMessage,
  type Message,
  opcodes,
  rcodeNames,
  rcodes,
  type ResourceRecord,
} from '../message.ts';
import { normaliseName, withParents } from '../name.ts';
import {
  type DnsProvider,
  type HeldRecordSet,
  type ProviderContext,
  type ProviderDefinition,
  ProviderError,
  requireCredential,
  type Zone,
} from '../provider.ts';
import { canonicalValues, encodeRdata } from '../rdata.ts';
import { signMessage, tsigAlgorithms, type TsigAlgorithm, type TsigKey, verifyReply } from '../tsig.ts';
import { refuseConflicts, withMinimumTtl } from './reconcile.ts';

/** What may stand at a name of ours, or in its way. SVCB and HTTPS stand for "any other" beside a CNAME. */
const listedTypes = ['CNAME', 'A', 'AAAA', 'MX', 'TXT', 'CAA', 'SRV', 'TLSA', 'NS', 'DNAME', 'SVCB', 'HTTPS'];
const timeoutMs = 10_000;
const parallelQueries = 8;

export const rfc2136: ProviderDefinition = {
  name: 'rfc2136',
  title: 'Dynamic updates (RFC 2136)',
  credentials: [
    { variable: 'RFC2136_NAMESERVER', title: 'Primary name server (address or name, :port)', secret: false },
    { variable: 'RFC2136_TSIG_KEY', title: 'Name of the TSIG key', secret: false },
    { variable: 'RFC2136_TSIG_SECRET', title: 'Secret of the TSIG key (base64)', secret: true },
    {
      variable: 'RFC2136_TSIG_ALGORITHM',
      title: 'TSIG algorithm (hmac-sha256)',
      secret: false,
      optional: true,
    },
  ],
  instructions:
    'Make a key with "keymgr -t NAME hmac-sha256" (Knot) or "tsig-keygen NAME" (BIND) and allow it to update the zone on its primary, even a hidden one',
  create: async (credentials, context) => createRfc2136(readCredentials(credentials), context),
};

interface Rfc2136Settings {
  readonly host: string;
  readonly port: number;
  readonly key: TsigKey;
}

function readCredentials(credentials: Readonly<Record<string, string>>): Rfc2136Settings {
  const server = requireCredential(credentials, 'RFC2136_NAMESERVER');
  const match = /^(?:\[([^\]]+)\]|([^:]+|[0-9a-f:]*::?[0-9a-f:]*))(?::(\d{1,5}))?$/i.exec(server);
  const host = isIP(server) === 6 ? server : (match?.[1] ?? match?.[2]);
  if (host === undefined) throw invalid(`RFC2136_NAMESERVER ${JSON.stringify(server)} is no address or name`);
  const port = isIP(server) === 6 ? 53 : Number(match?.[3] ?? 53);
  const secret = requireCredential(credentials, 'RFC2136_TSIG_SECRET');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(secret)) throw invalid('RFC2136_TSIG_SECRET is not base64');
  const algorithm = (credentials.RFC2136_TSIG_ALGORITHM?.trim() || 'hmac-sha256')
    .toLowerCase()
    .replace(/\.$/, '');
  if (!isAlgorithm(algorithm)) {
    const known = Object.keys(tsigAlgorithms).join(', ');
    throw invalid(`RFC2136_TSIG_ALGORITHM ${JSON.stringify(algorithm)} is none of ${known}`);
  }
  const name = normaliseName(requireCredential(credentials, 'RFC2136_TSIG_KEY'));
  return { host, port, key: { name, algorithm, secret: Buffer.from(secret, 'base64') } };
}

function invalid(message: string): ProviderError {
  return new ProviderError('wrong-credentials', message, {
    fix: 'Correct the value and run the command again',
  });
}

function isAlgorithm(text: string): text is TsigAlgorithm {
  return Object.hasOwn(tsigAlgorithms, text);
}

function createRfc2136(settings: Rfc2136Settings, context: Pick<ProviderContext, 'clock'>): DnsProvider {
  const { key } = settings;
  let resolved: NameServer | undefined;
  const server = async (): Promise<NameServer> => {
    if (resolved === undefined) {
      try {
        const { address } = await lookup(settings.host);
        resolved = { address, port: settings.port };
      } catch (error) {
        throw new ProviderError('unavailable', `The name server ${settings.host} has no address`, {
          cause: error,
        });
      }
    }
    return resolved;
  };
  const failed = (error: unknown): never => {
    if (!(error instanceof NoAnswerError)) throw error;
    // It may have moved: a device asks for months.
    resolved = undefined;
    throw new ProviderError('unavailable', `The primary name server: ${error.message}`, { cause: error });
  };

  /** Signed, so that a server that answers only holders of the key, or in a view of theirs, answers us. */
  const ask = async (message: Message, signal: AbortSignal): Promise<Message> => {
    const bytes = encodeMessage({ ...message, id: randomInt(0x10000) });
    const { signed, mac } = signMessage(bytes, key, context.clock());
    const options = { signal, timeoutMs };
    const reply = await exchangeBytes(await server(), signed, options).catch(failed);
    const decoded = decodeMessage(reply);
    // A server refuses a zone it does not serve before it looks at keys, unsigned. Nothing but a refusal is
    // ever believed without a signature.
    if (decoded.rcode === rcodes.refused && !decoded.additionals.some(({ type }) => type === 'TSIG')) {
      return decoded;
    }
    try {
      verifyReply(reply, mac, key, context.clock());
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      const refusal = decoded.rcode === 0 ? '' : ` (${rcodeText(decoded.rcode)})`;
      throw new ProviderError('wrong-credentials', `${text}${refusal}`, {
        cause: error,
        fix: 'Compare name, algorithm and secret of the TSIG key, and the clock, with those on the name server',
      });
    }
    return decoded;
  };

  const query = (name: string, type: string, signal: AbortSignal) =>
    ask({ ...emptyMessage, questions: [{ name, type, class: classes.in }] }, signal);

  const update = async (zone: Zone, changes: readonly ResourceRecord[], signal: AbortSignal) => {
    if (changes.length === 0) return;
    const reply = await ask(
      {
        ...emptyMessage,
        opcode: opcodes.update,
        questions: [{ name: zone.name, type: 'SOA', class: classes.in }],
        authorities: changes,
      },
      signal,
    );
    if (reply.rcode !== 0) throw updateError(reply.rcode, zone, key);
  };

  return {
    atomic: true,
    unsupportedTypes: [],
    minimumTtlSec: 0,

    async findZone(name, { signal }) {
      for (const candidate of withParents(name)) {
        const reply = await query(candidate, 'SOA', signal);
        const soa = reply.answers.find((record) => record.type === 'SOA' && record.name === candidate);
        if (reply.authoritative && soa !== undefined) {
          return { name: candidate, id: candidate, nameServers: [] };
        }
      }
      throw new ProviderError(
        'zone-not-found',
        `The name server ${settings.host} serves no zone that holds ${name}`,
        {
          fix: 'Name the primary server of the zone in RFC2136_NAMESERVER',
        },
      );
    },

    async list(zone, names, { signal }) {
      const questions = names.flatMap((name) => listedTypes.map((type) => ({ name, type })));
      const sets: HeldRecordSet[] = [];
      const worker = async () => {
        for (let next = questions.shift(); next !== undefined; next = questions.shift()) {
          const { name, type } = next;
          const reply = await query(name, type, signal);
          if (reply.rcode !== rcodes.noError && reply.rcode !== rcodes.nxDomain) {
            throw new ProviderError(
              'unexpected',
              `The primary answers ${rcodeText(reply.rcode)} for ${name} ${type}`,
            );
          }
          // An answer may go on along a CNAME, or be a delegation: only what stands at the name itself counts.
          const records = reply.answers.filter((record) => record.name === name && record.type === type);
          const [first] = records;
          if (first === undefined || !reply.authoritative) continue;
          sets.push({
            name,
            type,
            ttlSec: first.ttlSec,
            values: canonicalValues(
              type,
              records.map((record) => record.value),
            ),
          });
        }
      };
      await Promise.all(Array.from({ length: parallelQueries }, worker));
      return sets.sort((a, b) => (`${a.name} ${a.type}` < `${b.name} ${b.type}` ? -1 : 1));
    },

    async upsert(zone, sets, { signal }) {
      const changes = withMinimumTtl(sets, 0).flatMap((set): ResourceRecord[] => [
        deletion(set),
        ...set.values.map((value) => ({ ...set, class: classes.in, value })),
      ]);
      // A CNAME beside other records is dropped without a word (RFC 2136 §3.4.2.2): look first.
      await refuseConflicts(this, zone, sets, { signal });
      for (const change of changes) checkValue(change);
      await update(zone, changes, signal);
    },

    async delete(zone, keys, { signal }) {
      await update(zone, keys.map(deletion), signal);
    },
  };
}

/** "Delete an RRset" (RFC 2136 §2.5.2): class ANY, TTL 0, no RDATA. */
function deletion(key: { name: string; type: string }): ResourceRecord {
  return { name: key.name, type: key.type, class: classes.any, ttlSec: 0, value: '' };
}

/** @throws ProviderError when the value does not fit its type */
function checkValue(record: ResourceRecord): void {
  if (record.value === '') return;
  try {
    encodeRdata(record.type, record.value);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ProviderError('rejected', `${record.name} ${record.type}: ${reason}`, { cause: error });
  }
}

const rcodeText = (rcode: number) => rcodeNames[rcode] ?? `rcode ${rcode}`;

function updateError(rcode: number, zone: Zone, key: TsigKey): ProviderError {
  switch (rcodeText(rcode)) {
    case 'REFUSED':
      return new ProviderError('not-allowed', `The key ${key.name} may not update the zone ${zone.name}`, {
        fix: `Allow it on the name server: an acl with "action: update" (Knot), "update-policy" or "allow-update" (BIND). BIND also refuses an MX or NS without an address`,
      });
    case 'NOTAUTH':
    case 'NOTZONE':
      return new ProviderError('zone-not-found', `The name server is not the primary of ${zone.name}`, {
        fix: 'Name the primary server of the zone in RFC2136_NAMESERVER',
      });
    case 'NOTIMP':
      return new ProviderError('rejected', 'The name server takes no dynamic updates', {
        fix: 'Turn them on for this zone',
      });
    case 'SERVFAIL':
      return new ProviderError(
        'unavailable',
        `The name server could not write the zone ${zone.name} (SERVFAIL)`,
        {
          fix: 'Look into its log: often the zone file or its directory may not be written',
        },
      );
    default:
      return new ProviderError('rejected', `The name server refuses the update: ${rcodeText(rcode)}`);
  }
}
