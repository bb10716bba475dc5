#!/usr/bin/env node
// The only plain JavaScript here: it must load on any Node, and hand over to one that is new enough.
// In a checkout the sources run as they are (type stripping). Node refuses TypeScript below node_modules, so
// the published package carries them compiled, in dist/; one that lies in a checkout is never looked at,
// since it may be older than the sources.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';

const neededMajor = 24;
/** What a shell says of a program that Ctrl-C ended. */
const interrupted = 128 + constants.signals.SIGINT;
const here = dirname(fileURLToPath(import.meta.url));

/** The Node 24 that npm installed beside this package, where its platform has one. */
function bundledNode() {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const binary = process.platform === 'win32' ? 'bin/node.exe' : 'bin/node';
  try {
    const manifest = createRequire(import.meta.url).resolve(`node-${platform}-${process.arch}/package.json`);
    const path = join(dirname(manifest), binary);
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

function refuse(message, fix) {
  process.stderr.write(`error: ${message}\n  fix: ${fix}\n`);
  return 1;
}

function runOn(node) {
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, CHATMAIL_BUILD_RESPAWNED: '1' },
  });
  // A terminal sends Ctrl-C to the whole group, and then the child gets it twice; it takes that for one.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => {
    child.on('error', (error) => {
      resolve(
        refuse(`Node ${neededMajor} does not start: ${error.message}`, 'Install it from https://nodejs.org'),
      );
    });
    child.on('exit', (code, signal) => resolve(signal === null ? code : 128 + constants.signals[signal]));
  });
}

async function main() {
  if (Number(process.versions.node.split('.')[0]) < neededMajor) {
    const node = process.env.CHATMAIL_BUILD_RESPAWNED ? undefined : bundledNode();
    if (node !== undefined) return runOn(node);
    return refuse(
      `chatmail-build needs Node ${neededMajor} or newer, and this is ${process.version}`,
      `Install Node ${neededMajor} from https://nodejs.org, and run the same command again`,
    );
  }
  const isInstalled = here.split(sep).includes('node_modules');
  const main = isInstalled ? join(here, '../../dist/builder/cli/main.js') : join(here, 'main.ts');
  if (!existsSync(main)) {
    return refuse(
      `This package is not whole: ${main} is missing`,
      'Install it again: npm install chatmail-build',
    );
  }
  const { runProcess } = await import(pathToFileURL(main).href);
  return runProcess();
}

process.exitCode = await main();
// A look-up of a name cannot be taken back, and would keep an interrupted program for as long as it lasts.
if (process.exitCode === interrupted) process.exit();
