/**
 * The appliance's programs as one ECMAScript module a process, so that a device reads one file instead of
 * hundreds. Deterministic: esbuild's output depends on its version and the sources alone.
 */
import { createHash } from 'node:crypto';
import { basename, join, relative, resolve, sep } from 'node:path';
import { build, type Plugin } from 'esbuild';

/** Entry points below appliance/, without `.ts`. */
export const programs = ['supervisor', 'relay', 'edge', 'certificate-order'] as const;

export interface CompiledProgram {
  /** `relay.js`, or a chunk that programs share or load lazily. */
  readonly fileName: string;
  readonly bytes: Uint8Array;
}

export interface CompiledAppliance {
  readonly programs: readonly CompiledProgram[];
  /** npm packages that ended up in the bundles. */
  readonly npmPackages: readonly BundledPackage[];
}

export interface BundledPackage {
  readonly name: string;
  /** Where npm put it: in this package's own node_modules, or beside the package. */
  readonly directory: string;
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
 * Takes Node's own modules without importing them: an import statement reads every property of a module for
 * the names it might be asked for, also those that Node computes only when they are read. Of node:http that
 * is all of fetch, of node:tls the list of authorities. Measured: 3 MB less in relay and edge.
 */
const builtinsUnread: Plugin = {
  name: 'builtins-unread',
  setup(builder) {
    builder.onResolve({ filter: /^node:/ }, ({ path }) => ({
      path,
      namespace: 'builtin',
      sideEffects: false,
    }));
    builder.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
      loader: 'js',
    }));
  },
};

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
    plugins: [builtinsUnread],
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
    // Said here, since a tsconfig.json is found in a checkout and not in an installed package.
    tsconfigRaw: { compilerOptions: { target: 'esnext', verbatimModuleSyntax: true } },
  });
  const inputs = Object.keys(result.metafile.inputs);
  const outputs = new Map(result.outputFiles.map(({ path, text }) => [basename(path), text]));
  return {
    programs: [...withoutPaths(outputs, inputs)]
      .map(([fileName, text]) => ({ fileName, bytes: new TextEncoder().encode(text) }))
      .sort((one, other) => (one.fileName < other.fileName ? -1 : 1)),
    npmPackages: bundledPackages(inputs, sourceDirectory),
  };
}

/**
 * npm puts our dependencies into this package's node_modules or beside the package, and esbuild's output
 * tells where: in the names of CommonJS modules, and through them in the digests that chunks are called by.
 * Rewritten to be the same everywhere. Chunks that differ in nothing else never come up: one would do.
 */
function withoutPaths(
  outputs: ReadonlyMap<string, string>,
  inputs: readonly string[],
): ReadonlyMap<string, string> {
  const chunkName = /chunk-[A-Z0-9]{8}\.js/g;
  const moduleNames = new Map(
    inputs.map((input) => [
      JSON.stringify(input),
      JSON.stringify(input.replace(/^.*node_modules\/|^(?:\.\.\/)+/, '')),
    ]),
  );
  const texts = new Map(
    [...outputs].map(([name, text]) => [
      name,
      // As esbuild writes a CommonJS module: {"path"(exports,module){…
      text.replace(/(?<=\{)"[^"\n]+"(?=\()/g, (path) => moduleNames.get(path) ?? path),
    ]),
  );
  const newNames = new Map<string, string>();
  for (const [name, text] of texts) {
    const digest = createHash('sha256').update(text.replace(chunkName, '')).digest('hex').slice(0, 12);
    if (name.startsWith('chunk-')) newNames.set(name, `chunk-${digest}.js`);
  }
  if (new Set(newNames.values()).size !== newNames.size)
    throw new Error('Two chunks of the appliance are equal');
  const renamed = (text: string) => text.replace(chunkName, (name) => newNames.get(name) ?? name);
  return new Map([...texts].map(([name, text]) => [newNames.get(name) ?? name, renamed(text)]));
}

/** @param inputs paths of source files as esbuild has them: relative to `sourceDirectory`, with `/` */
function bundledPackages(inputs: readonly string[], sourceDirectory: string): BundledPackage[] {
  const packages = new Map<string, BundledPackage>();
  for (const input of inputs) {
    // Files that a package replaces by nothing.
    if (input.startsWith('(disabled):')) continue;
    const file = resolve(sourceDirectory, input);
    // When this package is installed, its own files are below a node_modules too.
    const own = relative(sourceDirectory, file).split(sep);
    if (own[0] !== '..' && own[0] !== 'node_modules') continue;
    // The last one in the path: packages may have packages of their own.
    const match = /^.*[\\/]node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)(?=[\\/])/.exec(file);
    if (match?.[1] === undefined) continue;
    packages.set(match[0], { name: match[1].replaceAll(sep, '/'), directory: match[0] });
  }
  return [...packages.values()].sort((one, other) =>
    one.name === other.name ? (one.directory < other.directory ? -1 : 1) : one.name < other.name ? -1 : 1,
  );
}
