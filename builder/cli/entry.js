#!/usr/bin/env node
// The only plain JavaScript here: it must load on any Node, and hand over to one that is new enough.
// The sources run as they are on Node 24 (type stripping); the published package carries dist/ instead,
// because Node refuses TypeScript below node_modules.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';

const neededMajor = 24;
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

async function main() {
  if (Number(process.versions.node.split('.')[0]) < neededMajor) {
    const node = bundledNode();
    if (node === undefined || process.env.CHATMAIL_BUILD_RESPAWNED) {
      process.stderr.write(
        `chatmail-build needs Node ${neededMajor} or newer, and this is ${process.version}\n` +
          `  fix: install Node ${neededMajor} from https://nodejs.org, or run "npm ci" again with optional packages\n`,
      );
      return 2;
    }
    const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
      stdio: 'inherit',
      env: { ...process.env, CHATMAIL_BUILD_RESPAWNED: '1' },
    });
    // A terminal sends Ctrl-C to the whole group, so the child has it already; what is sent to this
    // process alone is passed on.
    process.on('SIGINT', () => {});
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code, signal) => resolve(signal === null ? (code ?? 1) : 130));
    });
  }
  const source = join(here, 'main.ts');
  const compiled = join(here, '../../dist/builder/cli/main.js');
  const { runProcess } = await import(pathToFileURL(existsSync(compiled) ? compiled : source).href);
  return runProcess();
}

process.exitCode = await main();
