/**
 * The relay process: everything Postfix and Dovecot ask for, in one place and as one user. Wiring only.
 *
 * Sockets: milter, SASL and outgoing mail for Postfix; sign-in over HTTP, dict and quota warnings for
 * Dovecot; invite tokens for the web server. Its own requests go to Dovecot's doveadm socket, to the
 * notification gateway and to other mail servers.
 */
import { readFile } from 'node:fs/promises';
import { Resolver } from 'node:dns/promises';
import { availableParallelism, totalmem } from 'node:os';
import { createHashQueue } from './accounts/hash-queue.ts';
import { startInviteTokenServer } from './accounts/invite-token-server.ts';
import { createInviteTokens } from './accounts/invite-tokens.ts';
import { createAccounts } from './accounts/login.ts';
import { canonicalAddress } from './accounts/rules.ts';
import { dayOf, openAccountStore } from './accounts/store.ts';
import { findShortage, readSystemLoad } from './accounts/system-load.ts';
import { readTextIfPresent } from './base/atomic-file.ts';
import { ByteBudget } from './base/byte-budget.ts';
import { systemClock } from './base/clock.ts';
import { messageOf } from './base/errors.ts';
import type { Log } from './base/log.ts';
import { runDaemon } from './base/run-daemon.ts';
import { type Config, parseConfigText } from './contract/config.ts';
import { outgoingLimits } from './contract/outgoing.ts';
import { mailDomain } from './contract/domain.ts';
import { paths as devicePaths } from './contract/paths.ts';
import { ports } from './contract/ports.ts';
import { startAuthHttpServer } from './dovecot-auth/http-server.ts';
import { startSaslServer } from './dovecot-auth/server.ts';
import type { Authenticate } from './dovecot-auth/session.ts';
import { createMetadata, type ServerEntry } from './dovecot-dict/metadata.ts';
import { startDictServer } from './dovecot-dict/server.ts';
import { createAnnouncer } from './announce/announcer.ts';
import { connectDoveadm } from './doveadm/client.ts';
import { replaceByEmptyFile } from './doveadm/files.ts';
import { createExpiry } from './expiry/expiry.ts';
import { startQuotaWarningServer } from './expiry/quota-warning-server.ts';
import { txtResolver } from './filter/dkim-verify.ts';
import { encodeHeaders } from './filter/message.ts';
import { createMailFilter, type MailFilter } from './filter/message-filter.ts';
import { startMilterServer } from './milter/server.ts';
import { createGateway, gatewayUrl } from './push/gateway.ts';
import { createNotifier } from './push/notifier.ts';
import { openSessionCounter } from './tls-report/counter.ts';
import { postReport } from './tls-report/post.ts';
import { reportSender } from './tls-report/report.ts';
import { createTlsReporter } from './tls-report/reporter.ts';
import { createDelivery } from './transport/deliver.ts';
import { createHttpsDelivery } from './transport/https-delivery.ts';
import { lookupElsewhere } from './transport/lookup.ts';
import { createResolver, lookupTxt } from './transport/resolver.ts';
import { startTransportServer } from './transport/server.ts';

type RelayPaths = { readonly [Name in keyof typeof devicePaths]: string };

export interface RelaySettings {
  readonly paths: RelayPaths;
  /** Where push tokens are posted to. */
  readonly gatewayUrl: string;
  readonly log: Log;
}

export interface Relay extends AsyncDisposable {
  /**
   * Reads configuration and DKIM keys again; `mail.maxMessageBytes` alone needs a restart.
   * @throws ConfigError, and all stays as it was
   */
  reload(): Promise<void>;
}

/** Messages being filtered, all together: a quarter of the memory, and at least two of the largest. */
const filterMemoryShare = 0.25;
const maxFilterBytes = 512 * 1024 * 1024;

/** Messages on their way to others, each held until its last recipient has an answer. */
const transportMemoryShare = 0.125;
const maxTransportBytes = 256 * 1024 * 1024;

/** What Postfix and the filter add on the way: Received, signatures, the headers of a bounce. */
const maxAddedBytes = 64 * 1024;

/** One of libuv's four threads stays free for files. */
const maxHashConcurrency = 3;
/** At 15–100 ms each, the last in the queue still gets its answer within seconds. */
const maxWaitingHashes = 128;

/** Starts everything; resolves when every socket is there. */
export async function startRelay({ paths, log, ...settings }: RelaySettings): Promise<Relay> {
  const clock = systemClock;
  const stop = new AbortController();
  await using stack = new AsyncDisposableStack();

  const resolver = new Resolver({ timeout: 5000, tries: 2 });
  const loadFilter = async (current: Config): Promise<MailFilter> =>
    createMailFilter({
      config: current,
      dkimKey: (await readTextIfPresent(paths.dkimKey)) ?? null,
      dkimEd25519Key: (await readTextIfPresent(paths.dkimEd25519Key)) ?? null,
      resolveTxt: txtResolver(resolver),
      clock,
      log: log.child('filter'),
    });
  let config = parseConfigText(await readFile(paths.config, 'utf8'));
  let filter = await loadFilter(config);

  const store = openAccountStore(paths.accountsDatabase);
  stack.defer(() => store.close());
  stack.defer(() => stop.abort());
  const today = () => dayOf(clock.wallMs());
  const homeOf = (address: string) =>
    `${paths.mail}/${address.slice(address.lastIndexOf('@') + 1)}/${address}`;

  const accountsOptions = {
    store,
    config: () => config,
    hashes: createHashQueue({
      concurrency: Math.min(availableParallelism(), maxHashConcurrency),
      maxWaiting: maxWaitingHashes,
    }),
    findShortage: async () => findShortage(await readSystemLoad(paths.data)),
    clock,
    log: log.child('accounts'),
  };
  const accounts = createAccounts(accountsOptions);

  const authenticate: Authenticate = (username, password) => accounts.login(username, password);

  const gateway = stack.use(createGateway(settings.gatewayUrl));
  const notifier = stack.use(createNotifier({ store, post: gateway.post, clock, log: log.child('push') }));
  const announcer = stack.use(
    createAnnouncer({
      touch: async (path, signal) => {
        using doveadm = await connectDoveadm(paths.doveadmSocket, signal);
        await replaceByEmptyFile(doveadm, path);
      },
      homeOf,
      clock,
      log: log.child('announce'),
    }),
  );
  const delivered = (user: string, from: string): void => {
    const address = canonicalAddress(config, user);
    if (address === null) return;
    announcer.announce(address);
    // Whoever wrote the message has it already; this is the copy for the other devices.
    if (address !== canonicalAddress(config, from)) notifier.notify(address);
  };

  const serverEntry = (entry: ServerEntry): string | null =>
    entry === 'maxsmtprecipients' ? String(config.mail.maxRecipients) : null;

  const expiryLog = log.child('expiry');
  const expiry = createExpiry({
    socketPath: paths.doveadmSocket,
    accounts: store,
    rules: () => ({ ...config.mail, deleteInactiveDays: config.accounts.deleteInactiveDays }),
    homeOf,
    clock,
    log: expiryLog,
    random: Math.random,
  });
  const nearlyFull = (user: string): void => {
    const address = accounts.lookup(user);
    if (address === null) return;
    expiry.trim(address, stop.signal).catch((error: unknown) => {
      if (!stop.signal.aborted) expiryLog.warn('mailbox not trimmed', { reason: messageOf(error) });
    });
  };

  const { maxMessageBytes } = config.mail;
  const budgetOf = (share: number, maxBytes: number) =>
    new ByteBudget(Math.max(2 * maxMessageBytes, Math.min(maxBytes, Math.floor(totalmem() * share))));

  const outgoing = outgoingLimits(totalmem());
  const mailResolver = createResolver({ address: '127.0.0.1', port: ports.dns });
  const deliver = createDelivery({
    ownDomain: () => config.domain,
    resolver: mailResolver,
    https: stack.use(createHttpsDelivery({ maxPerHost: outgoing.maxPerDomain })),
    smtp: {},
    clock,
    random: Math.random,
    log: log.child('transport'),
    perDomain: { maxActive: outgoing.maxPerDomain, maxWaiting: outgoing.maxWaitingPerDomain },
    onTlsSession: (session) => tlsReporter.record(session),
  });
  const tlsReporter = createTlsReporter({
    counter: await openSessionCounter(paths.tlsReports),
    // A report has to be signed, and an address has no place for the key.
    reporter: () => {
      const { domain } = config;
      return domain.kind === 'ip' ? null : { domain: domain.name, contact: `postmaster@${domain.name}` };
    },
    resolveTxt: (name, signal) => lookupTxt(mailResolver, name, signal),
    post: (url, gzip, signal) => postReport(url, gzip, { lookup: lookupElsewhere(mailResolver), signal }),
    mail: async ({ headers, body }, to, signal) => {
      const sender = reportSender(mailDomain(config.domain));
      const signed = await filter.sign({ sender, recipients: [to], headers, body });
      const bytes = Buffer.concat([encodeHeaders(signed), body]);
      const [reply] = await deliver(
        { sender, recipients: [to], body: [bytes], sizeBytes: bytes.length, toAnybody: true },
        signal,
      );
      return reply?.code ?? 451;
    },
    clock,
    random: Math.random,
    log: log.child('tls-report'),
  });
  const started = await Promise.all([
    startMilterServer({
      path: paths.milterSocket,
      // Through the variable, so that a reload reaches connections that are open.
      handler: {
        recipient: (...args) => filter.recipient(...args),
        message: (...args) => filter.message(...args),
      },
      budget: budgetOf(filterMemoryShare, maxFilterBytes),
      maxMessageBytes,
      maxRecipients: config.mail.maxRecipients,
      signal: stop.signal,
      log: log.child('milter'),
    }),
    startTransportServer({
      path: paths.transportSocket,
      deliver,
      budget: budgetOf(transportMemoryShare, maxTransportBytes),
      maxMessageBytes: maxMessageBytes + maxAddedBytes,
      maxRecipients: outgoing.maxRecipients,
      log: log.child('transport'),
    }),
    startSaslServer({ socketPath: paths.saslSocket, authenticate, log: log.child('sasl') }),
    startAuthHttpServer({
      socketPath: paths.authSocket,
      authenticate,
      // Expiry asks by what is in the store, even if the relay has another domain now.
      lookup: (user, service) =>
        service === 'doveadm' && store.find(user) !== null
          ? user
          : accounts.lookup(user, { enabledOnly: service === 'lmtp' }),
      homeOf,
      delivered,
      log: log.child('auth'),
    }),
    startDictServer({
      socketPath: paths.dictSocket,
      dictionary: createMetadata({
        tokens: (address) => store.tokens(address, today()),
        addToken: (address, token) => store.addToken(address, token, today()),
        serverEntry,
      }),
      log: log.child('dict'),
    }),
    startInviteTokenServer({
      socketPath: paths.accountsSocket,
      inviteTokens: createInviteTokens(accountsOptions),
      log: log.child('accounts'),
    }),
    startQuotaWarningServer({ socketPath: paths.quotaSocket, nearlyFull, log: expiryLog }),
  ]);
  for (const server of started) stack.use(server);

  const daily = Promise.all([expiry.runDaily(stop.signal), tlsReporter.run(stop.signal)]);
  const running = stack.move();
  return {
    async reload() {
      const next = parseConfigText(await readFile(paths.config, 'utf8'));
      filter = await loadFilter(next);
      config = next;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await daily;
      await running.disposeAsync();
    },
  };
}

if (import.meta.main) await runDaemon('relay', (log) => startRelay({ paths: devicePaths, gatewayUrl, log }));
