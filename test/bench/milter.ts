/**
 * Mail through the milter: messages a second and latency, of the protocol alone, of signing what leaves and
 * of verifying what arrives. OpenDKIM signs the same messages, driven by the same client in the same run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { systemClock } from '../../appliance/base/clock.ts';
import { createDkimSigner } from '../../appliance/filter/dkim-sign.ts';
import { applyEdits, encodeHeaders, type MailMessage } from '../../appliance/filter/message.ts';
import { MilterClient } from '../../appliance/milter/client.ts';
import { services } from '../../appliance/services.ts';
import { armor, encryptedMessage, newPacket } from '../fixtures/filter/messages.ts';
import { waitUntil } from '../vm/relay-namespace.ts';
import { type Bench, type BenchContext, type BenchRow, format, median, quantile } from './bench.ts';
import { configureOpendkim } from './peers/opendkim.ts';

const domain = 'chat.example.org';
const sender = `alice@${domain}`;
const clientAddress = '192.0.2.1';
/** As many as Postfix opens to a relay with a few dozen active users. */
const connections = 10;
const messagesEach = 150;
const warmUpEach = 20;
const rounds = 3;

interface Measured {
  readonly perSecond: number[];
  readonly latenciesMs: number[];
}

interface Subject {
  readonly what: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly socket: string;
  readonly message: MailMessage;
  /** Postfix's daemon_name, by which the filter knows the way a message came. */
  readonly daemonName: string;
  readonly signs: boolean;
}

export const milterBench: Bench = {
  name: 'milter',
  title: `messages of 3 KB through the milter, ${connections} connections`,
  needs: { root: false, tools: { opendkim: 'opendkim' } },
  async run(context) {
    const subjects = await prepare(context);
    const measured = subjects.map((): Measured => ({ perSecond: [], latenciesMs: [] }));
    // Turn by turn, so that a busy second of this machine falls on all alike.
    for (let round = 0; round < rounds; round++) {
      for (const [index, subject] of subjects.entries()) {
        const { perSecond, latenciesMs } = await measure(subject, context.signal);
        measured[index]?.perSecond.push(perSecond);
        measured[index]?.latenciesMs.push(...latenciesMs);
        context.note(`${subject.what}: ${format(perSecond)} messages/s`);
      }
    }
    const [passed, signed, verified, opendkim] = measured.map((all) => ({
      perSecond: median(all.perSecond),
      p99Ms: quantile(all.latenciesMs, 0.99),
    }));
    if (!passed || !signed || !verified || !opendkim) throw new TypeError('A subject was not measured');
    const rows = (what: string, ours: typeof passed, peer?: typeof passed): BenchRow[] => [
      {
        what,
        ours: ours.perSecond,
        unit: 'messages/s',
        better: 'more',
        ...(peer && { peer: peer.perSecond, peerName: 'OpenDKIM' }),
      },
      {
        what: `${what}, 99 of 100 within`,
        ours: ours.p99Ms,
        unit: 'ms',
        ...(peer && { peer: peer.p99Ms, peerName: 'OpenDKIM' }),
      },
    ];
    return {
      rows: [
        ...rows('passed through', passed),
        ...rows('outgoing: judged and signed', signed, opendkim),
        ...rows('incoming: judged and verified', verified),
      ],
      remarks: [
        `${rounds} rounds of ${connections * messagesEach} messages, RSA-2048.`,
        'Ours also checks sender and encryption; OpenDKIM only signs.',
        'The client runs on the same processors.',
      ],
    };
  },
};

async function prepare({ directory }: BenchContext): Promise<readonly Subject[]> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const keyFile = join(directory, 'key.pem');
  await writeFile(keyFile, key, { mode: 0o600 });

  const outgoing = threeKilobytes(sender);
  const unsigned = threeKilobytes('bob@other.example.net');
  const signer = createDkimSigner({ key, selector: 's', domain: 'other.example.net', clock: systemClock });
  const signatures = await signer.sign(unsigned.headers, unsigned.body);
  const incoming = { ...unsigned, headers: applyEdits(unsigned.headers, signatures) };

  // With the same flags for V8 as on the device.
  const flags =
    services({ keepsTime: false })
      .find(({ name }) => name === 'relay')
      ?.args.slice(0, -1) ?? [];
  const server = join(import.meta.dirname, 'milter-server.ts');
  const ours = (what: string, mode: string, message: MailMessage, daemonName: string, signs: boolean) => {
    const socket = join(directory, `${mode}.sock`);
    const args = [...flags, server, socket, mode, keyFile];
    return { what, command: process.execPath, args, socket, message, daemonName, signs };
  };
  const socket = join(directory, 'opendkim.sock');
  return [
    ours('passed through', 'pass', outgoing, 'ORIGINATING', false),
    ours('signed', 'sign', outgoing, 'ORIGINATING', true),
    ours('verified', 'verify', incoming, 'smtpd', false),
    {
      what: 'signed by OpenDKIM',
      command: 'opendkim',
      args: await configureOpendkim(directory, { socket, domain, keyFile, clientAddress }),
      socket,
      message: outgoing,
      daemonName: 'ORIGINATING',
      signs: true,
    },
  ];
}

/** A message as a client sends it, padded by its encrypted part to 3 KB as a whole. */
function threeKilobytes(from: string): MailMessage {
  const make = (packetBytes: number) =>
    encryptedMessage({ from, armor: armor(newPacket(18, Buffer.alloc(packetBytes, 0x5a))) });
  const sizeOf = ({ headers, body }: MailMessage) => encodeHeaders(headers).length + body.length;
  let packetBytes = 100;
  while (sizeOf(make(packetBytes)) < 3000) packetBytes += 10;
  return make(packetBytes);
}

/** Starts the filter, drives it, ends it. */
async function measure(subject: Subject, signal: AbortSignal) {
  const child = spawn(subject.command, subject.args, { stdio: ['ignore', 'ignore', 'inherit'] });
  let failure: Error | undefined;
  child.on('error', (error) => {
    failure = error;
  });
  try {
    await waitUntil(
      async () => {
        if (failure !== undefined) throw failure;
        if (child.exitCode !== null) throw new Error(`${subject.command} ended with code ${child.exitCode}`);
        return answers(subject.socket);
      },
      20_000,
      () => `${subject.command} at ${subject.socket}`,
    );
    await drive(subject, warmUpEach, signal);
    return await drive(subject, messagesEach, signal);
  } finally {
    await end(child);
  }
}

async function drive(subject: Subject, each: number, signal: AbortSignal) {
  const latenciesMs: number[] = [];
  const macros = { i: '4Zz0Qq1Bxyz', auth_authen: subject.message.sender };
  const message = { ...subject.message, macros };
  const started = performance.now();
  const talk = async () => {
    using client = await MilterClient.connect(subject.socket, {
      signal,
      client: {
        kind: 'connect',
        host: `[${clientAddress}]`,
        family: 'inet',
        port: 40_000,
        address: clientAddress,
      },
      macros: { daemon_name: subject.daemonName },
    });
    for (let count = 0; count < each; count++) {
      const sent = performance.now();
      const { result, edits } = await client.send(message);
      latenciesMs.push(performance.now() - sent);
      if (result !== 'accept') throw new Error(`${subject.what}: ${result}`);
      const isSigned = edits.some((edit) => 'name' in edit && edit.name === 'DKIM-Signature');
      if (isSigned !== subject.signs) throw new Error(`${subject.what}: signed is ${isSigned}`);
    }
  };
  await Promise.all(Array.from({ length: connections }, talk));
  return { perSecond: (connections * each * 1000) / (performance.now() - started), latenciesMs };
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const kill = setTimeout(() => child.kill('SIGKILL'), 5000);
  await ended;
  clearTimeout(kill);
}
