/** The command line: picks the verb, runs it, turns what it throws into a sentence, a fix and an exit code. */
import process from 'node:process';
import { systemCode } from '../../appliance/base/errors.ts';
import type { Command, CommandContext } from './command.ts';
import { CliError, interruptedReport, reportOf } from './errors.ts';
import { createInterruption } from './interruption.ts';

/** Verbs are loaded when asked for, so that `--help` costs nothing. */
const verbs: Readonly<Record<string, () => Promise<{ command: Command }>>> = {
  build: () => import('./commands/build.ts'),
  dns: () => import('./commands/dns.ts'),
  flash: () => import('./commands/flash.ts'),
  run: () => import('./commands/run.ts'),
};

const overview = `chatmail-build: a domain name in, a bootable chatmail relay out

Build
  chatmail-build --domain chat.example.org        an image for a machine or a Raspberry Pi
      [--target vm-x86_64|vm-arm64|rpi-arm64] [--out DIR] [--config FILE] [--lock FILE] [--offline]
      [--dns PROVIDER]                            and publishes its DNS records

Try
  chatmail-build run [IMAGE]                      boots it in QEMU, and says how to connect

Install
  chatmail-build flash [IMAGE] [DEVICE]           writes it to a USB stick or card, and verifies it
      [--wifi SSID --wifi-country CC] [--address …] [--set PATH=VALUE]  with settings for this card

Domain
  chatmail-build dns show|check|push              the DNS records: prints, verifies, publishes them

Every verb takes --help and --json (one JSON object a line on stdout).
Exit codes: 0 done, 1 failed, 2 wrong usage.
`;

/**
 * Runs one command line.
 * @param argv what follows the program's name
 * @returns the exit code
 */
export async function run(argv: readonly string[], context: CommandContext): Promise<number> {
  const [first, ...rest] = argv;
  try {
    if (first === undefined) {
      context.stderr.write(overview);
      return 2;
    }
    if (first === '--help' || first === '-h' || first === 'help') {
      context.stdout.write(overview);
      return 0;
    }
    // `chatmail-build --domain …` is the build; it needs no verb.
    const name = first.startsWith('-') ? 'build' : first;
    const args = first.startsWith('-') ? argv : rest;
    const load = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
    if (load === undefined) {
      throw new CliError('usage', `There is no command ${JSON.stringify(name)}`, {
        fix: `Known are: ${Object.keys(verbs).join(', ')}. Run "chatmail-build --help"`,
      });
    }
    const { command } = await load();
    if (args.includes('--help') || args.includes('-h')) {
      context.stdout.write(command.help);
      return 0;
    }
    return await command.run(args, context);
  } catch (error) {
    // Whatever broke on the way down, the person at the keyboard asked for it.
    const report = context.signal.aborted ? interruptedReport : reportOf(error);
    if (argv.includes('--json')) {
      const { code, message, fix } = report;
      context.stdout.write(`${JSON.stringify({ event: 'error', code, message, fix })}\n`);
    } else {
      context.stderr.write(`error: ${report.message}\n  fix: ${report.fix}\n`);
    }
    if (context.env.CHATMAIL_BUILD_DEBUG !== undefined && error instanceof Error) {
      context.stderr.write(`${error.stack ?? ''}\n`);
    }
    return report.exitCode;
  }
}

/** `run` for this process: its arguments, environment and signals. */
export async function runProcess(): Promise<number> {
  const { signal, force, interrupt } = createInterruption(
    () => performance.now(),
    () => process.exit(interruptedReport.exitCode),
  );
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of signals) process.on(name, interrupt);
  // `chatmail-build dns show | head`: nobody reads on, which is no failure.
  const ignoreClosedPipe = (error: Error) => {
    if (systemCode(error) !== 'EPIPE') throw error;
  };
  process.stdout.on('error', ignoreClosedPipe);
  process.stderr.on('error', ignoreClosedPipe);
  try {
    return await run(process.argv.slice(2), {
      env: process.env,
      cwd: process.cwd(),
      stdin: process.stdin,
      stdout: process.stdout,
      stderr: process.stderr,
      signal,
      force,
      clock: () => new Date(),
    });
  } finally {
    for (const name of signals) process.off(name, interrupt);
  }
}
