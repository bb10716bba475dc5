/**
 * The appliance's programs as one ECMAScript module a process, so that a device reads one file instead of
 * hundreds. Deterministic: esbuild's output depends on its version and the sources alone.
 */
import { join } from 'node:path';
import { build } from 'esbuild';

/** Entry points below appliance/, without `.ts`. */
export const programs = ['supervisor', 'relay'] as const;

export interface CompiledProgram {
  /** `relay.js`, or a chunk that programs share or load lazily. */
  readonly fileName: string;
  readonly bytes: Uint8Array;
}

export interface CompiledAppliance {
  readonly programs: readonly CompiledProgram[];
  /** npm packages that ended up in the bundles: directory names below node_modules. */
  readonly npmPackages: readonly string[];
}

// CommonJS dependencies inside an ES module bundle expect these three.
const banner = [
  "import { createRequire as createRequire_ } from 'node:module';",
  "import { dirname as dirname_ } from 'node:path';",
  "import { fileURLToPath as fileURLToPath_ } from 'node:url';",
  'const require = createRequire_(import.meta.url);',
  'const __filename = fileURLToPath_(import.meta.url);',
  'const __dirname = dirname_(__filename);',
].join('');

/**
 * Bundles the appliance.
 * @param sourceDirectory the package's root, which holds appliance/ and node_modules/
 */
export async function compileAppliance(sourceDirectory: string): Promise<CompiledAppliance> {
  const result = await build({
    absWorkingDir: sourceDirectory,
    entryPoints: programs.map((name) => join('appliance', `${name}.ts`)),
    outdir: 'out',
    outbase: 'appliance',
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    // Keeps lazily loaded code (certificate making, push) out of what every start reads.
    splitting: true,
    chunkNames: 'chunk-[hash]',
    minifySyntax: true,
    minifyWhitespace: true,
    // Names stay, so that a stack trace from somebody's console can be read.
    minifyIdentifiers: false,
    legalComments: 'inline',
    banner: { js: banner },
    logLevel: 'silent',
  });
  const npmPackages = new Set<string>();
  for (const input of Object.keys(result.metafile.inputs)) {
    const match = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match?.[1] !== undefined) npmPackages.add(match[1]);
  }
  return {
    programs: result.outputFiles
      .map((file) => ({
        fileName: file.path.replaceAll('\\', '/').split('/').at(-1) ?? '',
        bytes: file.contents,
      }))
      .sort((one, other) => (one.fileName < other.fileName ? -1 : 1)),
    npmPackages: [...npmPackages].sort(),
  };
}
