/**
 * Kernel modules: from the files of Debian's kernel packages and a list of wanted names to what must be
 * there, in which order it loads, and the text files busybox modprobe looks things up in. The packages
 * carry no modules.dep (depmod makes it in a maintainer script), so dependencies are read from the modules
 * themselves. Only the modules asked for, and what they need, are unpacked.
 */
import { messageOf, ProtocolError } from '../../appliance/base/errors.ts';
import { decompress } from '../formats/decompress.ts';
import { decodeBuiltinAliases, decodeModule, type Modinfo, moduleName } from '../formats/modinfo.ts';
import { readContent, textContent, type TreeEntry } from '../formats/tree.ts';

type FileEntry = Extract<TreeEntry, { kind: 'file' }>;

/** The modules of one kernel, as its package has them; nothing is unpacked yet. */
export interface KernelModules {
  /** What `uname -r` says: `6.12.107+deb13-cloud-amd64`. */
  readonly release: string;
  /** `usr/lib/modules/<release>`. */
  readonly directory: string;
  readonly files: ReadonlyMap<string, FileEntry>;
  readonly builtin: ReadonlySet<string>;
  readonly builtinAliases: ReadonlyMap<string, string>;
  /** modules.builtin as it is, which busybox modprobe reads too. */
  readonly builtinList: string;
}

export interface SelectedModule extends Modinfo {
  /** Below the release's directory: `kernel/fs/fat/vfat.ko.xz`. */
  readonly path: string;
  readonly entry: FileEntry;
  /** The uncompressed module, with its signature. */
  readonly bytes: Uint8Array;
  /** Names of everything that is loaded before it, in loading order. */
  readonly before: readonly string[];
}

export interface ModuleSelection {
  readonly kernel: KernelModules;
  /** Loading order: each after all it needs; otherwise in the order asked for. */
  readonly modules: readonly SelectedModule[];
  /** Of the names asked for, those built into the kernel. */
  readonly builtin: readonly string[];
}

const modulePath = /^(?:usr\/)?lib\/modules\/([^/]+)\/(.+)$/;
const moduleFile = /([^/]+)\.ko(?:\.xz|\.zst|\.gz)?$/;

/** modules.builtin and modules.builtin.modinfo: 5 kB and 50 kB today, 25 kB and 500 kB on arm64. */
const maxListBytes = 8 * 1024 * 1024;
/** amdgpu, the largest there is, has some 30 MB. */
const maxModuleBytes = 128 * 1024 * 1024;

/**
 * Finds the modules among the files of a kernel's packages.
 * @throws Error when there are the modules of no kernel, or of several
 */
export async function findKernelModules(
  entries: Iterable<TreeEntry>,
  signal?: AbortSignal,
): Promise<KernelModules> {
  const files = new Map<string, FileEntry>();
  const lists = new Map<string, FileEntry>();
  let found: { release: string; directory: string } | undefined;
  for (const entry of entries) {
    const match = modulePath.exec(entry.path);
    if (match === null || entry.kind !== 'file') continue;
    const [, release = '', below = ''] = match;
    if (found !== undefined && found.release !== release) {
      throw new Error(`Modules of two kernels, ${found.release} and ${release}, in one image`);
    }
    found ??= { release, directory: entry.path.slice(0, -below.length - 1) };
    const name = moduleFile.exec(below)?.[1];
    if (name !== undefined) files.set(moduleName(name), entry);
    else lists.set(below, entry);
  }
  if (found === undefined) throw new Error('None of the packages brings kernel modules');
  const list = async (name: string) => {
    const entry = lists.get(name);
    return entry === undefined ? new Uint8Array() : readContent(entry.content, maxListBytes, signal);
  };
  const builtinList = new TextDecoder().decode(await list('modules.builtin'));
  const aliases = decodeBuiltinAliases(await list('modules.builtin.modinfo'));
  return {
    ...found,
    files,
    builtinList,
    builtin: new Set(
      builtinList.split('\n').flatMap((line) => {
        const name = moduleFile.exec(line.trim())?.[1];
        return name === undefined ? [] : [moduleName(name)];
      }),
    ),
    builtinAliases: new Map(aliases.map(({ alias, module }) => [moduleName(alias), module])),
  };
}

/**
 * Reads one module.
 * @throws Error naming the module when the kernel does not have it or its file is damaged
 */
export async function readModule(
  kernel: KernelModules,
  name: string,
  signal?: AbortSignal,
): Promise<Omit<SelectedModule, 'before'>> {
  const entry = kernel.files.get(moduleName(name));
  if (entry === undefined) {
    throw new Error(`Kernel ${kernel.release} has no module ${name}: neither a file nor built in`);
  }
  try {
    const bytes = await unpackModule(entry, signal);
    const modinfo = decodeModule(bytes);
    if (modinfo.name !== moduleName(name)) {
      throw new ProtocolError(`It calls itself ${modinfo.name}`);
    }
    return { ...modinfo, path: entry.path.slice(kernel.directory.length + 1), entry, bytes };
  } catch (error) {
    signal?.throwIfAborted();
    throw new Error(`Cannot read the kernel module /${entry.path}: ${messageOf(error)}`, { cause: error });
  }
}

async function unpackModule(entry: FileEntry, signal?: AbortSignal): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const packed = entry.content.read(signal);
  for await (const part of decompress(packed, { maxOutputBytes: maxModuleBytes, signal })) parts.push(part);
  return Buffer.concat(parts);
}

/**
 * The wanted modules with everything they need. A soft dependency is followed when its name, or an alias
 * of a built-in module, is known; otherwise it is left out, as modprobe does.
 * @param wanted names, with `-` or `_`
 * @throws Error naming a wanted or needed module that is neither a file nor built in, or a cycle
 */
export async function selectModules(
  kernel: KernelModules,
  wanted: readonly string[],
  signal?: AbortSignal,
): Promise<ModuleSelection> {
  const done = new Map<string, SelectedModule>();
  const builtin: string[] = [];

  const load = async (raw: string, chain: readonly string[]): Promise<void> => {
    const name = moduleName(raw);
    if (done.has(name)) return;
    if (!kernel.files.has(name) && kernel.builtin.has(name)) {
      if (chain.length === 0) builtin.push(name);
      return;
    }
    if (chain.includes(name)) {
      throw new Error(`Kernel modules need each other in a circle: ${[...chain, name].join(' → ')}`);
    }
    const needed = chain.at(-1);
    if (needed !== undefined && !kernel.files.has(name)) {
      throw new Error(`Kernel module ${needed} needs ${name}, which kernel ${kernel.release} does not have`);
    }
    const module = await readModule(kernel, name, signal);
    const soft = module.softBefore.filter((one) => kernel.files.has(moduleName(one)));
    const direct = [...soft.map(moduleName), ...module.depends];
    for (const one of direct) await load(one, [...chain, name]);
    const before = [...new Set(direct.flatMap((one) => [...(done.get(one)?.before ?? []), one]))];
    done.set(name, { ...module, before: before.filter((one) => done.has(one)) });
    for (const one of module.softAfter) {
      if (kernel.files.has(moduleName(one)) && !chain.includes(moduleName(one))) await load(one, []);
    }
  };

  for (const name of wanted) await load(name, []);
  return { kernel, modules: [...done.values()], builtin };
}

/**
 * What busybox modprobe looks things up in: modules.dep (a module's dependencies, the one to load first
 * standing last; soft ones are in it, since busybox does not read modules.softdep), modules.alias and
 * modules.builtin.
 * @param pathOf where a module lies, relative to the lists
 */
export function moduleLists(
  { kernel, modules }: ModuleSelection,
  pathOf: (module: SelectedModule) => string,
): Readonly<Record<string, string>> {
  const paths = new Map(modules.map((module) => [module.name, pathOf(module)]));
  const text = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('');
  return {
    'modules.alias': text(
      modules.flatMap(({ name, aliases }) => aliases.map((alias) => `alias ${alias} ${name}`)),
    ),
    'modules.builtin': text(kernel.builtinList.split('\n').filter(Boolean)),
    'modules.dep': text(
      modules.map((module) =>
        [`${pathOf(module)}:`, ...module.before.toReversed().map((name) => paths.get(name) ?? name)].join(
          ' ',
        ),
      ),
    ),
    'modules.symbols': '',
  };
}

/** The modules as files of the root, where Debian has them, with the lists beside them. */
export function moduleTree(selection: ModuleSelection, mtimeSec: number): TreeEntry[] {
  const lists = moduleLists(selection, ({ path }) => path);
  return [
    ...selection.modules.map(({ entry }) => entry),
    ...Object.entries(lists).map(([name, text]): TreeEntry => ({
      path: `${selection.kernel.directory}/${name}`,
      kind: 'file',
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeSec,
      content: textContent(text),
    })),
  ];
}

/**
 * Whether an alias of a module means the device with this modalias, by fnmatch(3) as the kernel's tools
 * use it: `*`, `?` and `[…]`; a device tree node's is `of:N<name>T<type>C<compatible>`.
 */
export function matchesAlias(alias: string, modalias: string): boolean {
  const pattern = alias.replace(/\[[^\]]*\]|[\s\S]/g, (part) => {
    if (part === '*') return '.*';
    if (part === '?') return '.';
    if (part.length > 1) return part.replace(/^\[!/, '[^').replaceAll('\\', '\\\\');
    return part.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&');
  });
  return new RegExp(`^${pattern}$`, 's').test(modalias);
}
