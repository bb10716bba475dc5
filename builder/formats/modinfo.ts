/**
 * The `.modinfo` section of a Linux kernel module: NUL-terminated `key=value` texts (linux
 * include/linux/moduleinfo, scripts/mod/modpost.c). The same texts, each with `module.` before it, make
 * up `modules.builtin.modinfo` (Documentation/kbuild/kbuild.rst). Keeps what loading a module needs.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';
import { readElfSection } from './elf.ts';

export interface Modinfo {
  /** As the kernel names it: with underscores. */
  readonly name: string;
  /** Modules that must be loaded before, in the order given. */
  readonly depends: readonly string[];
  /** Names or aliases that should be loaded before and after, where they exist (modprobe.d(5), softdep). */
  readonly softBefore: readonly string[];
  readonly softAfter: readonly string[];
  /** Patterns (`*`, `?`, `[…]`) of what the module drives: `virtio:d00000002v*`, `of:N*T*Cbrcm,bcm2835-sdhost`. */
  readonly aliases: readonly string[];
  /** Files below /lib/firmware that it asks for. */
  readonly firmware: readonly string[];
}

/** The largest seen is 48 kB (aliases of i915-sized drivers); parameters' texts are in there as well. */
const maxSectionBytes = 1024 * 1024;

/** One name for what is written `dm-verity` and `dm_verity`. Characters in brackets stay, as in kmod. */
export function moduleName(text: string): string {
  return text.replaceAll('-', '_');
}

/**
 * Reads the module information of an uncompressed `.ko` file.
 * @throws ProtocolError when it is not a kernel module
 */
export function decodeModule(file: Uint8Array): Modinfo {
  const section = readElfSection(file, '.modinfo');
  if (section === undefined) throw new ProtocolError('An ELF file without .modinfo is no kernel module');
  const fields = splitFields(section);
  const all = (key: string) => fields.filter((field) => field.key === key).map(({ value }) => value);
  const name = all('name')[0];
  if (name === undefined || name === '') throw new ProtocolError('Kernel module without a name');
  const soft = all('softdep').map(parseSoftdep);
  return {
    name: moduleName(name),
    depends: all('depends').flatMap((text) => text.split(',').filter(Boolean).map(moduleName)),
    softBefore: soft.flatMap(({ before }) => before),
    softAfter: soft.flatMap(({ after }) => after),
    aliases: all('alias'),
    firmware: all('firmware'),
  };
}

/** Aliases of the modules built into the kernel, from `modules.builtin.modinfo`: pattern and module. */
export function decodeBuiltinAliases(
  file: Uint8Array,
): { readonly alias: string; readonly module: string }[] {
  return splitFields(file).flatMap(({ key, value }) => {
    const dot = key.lastIndexOf('.');
    return key.slice(dot + 1) === 'alias' && dot > 0
      ? [{ alias: value, module: moduleName(key.slice(0, dot)) }]
      : [];
  });
}

function splitFields(section: Uint8Array): { readonly key: string; readonly value: string }[] {
  if (section.length > maxSectionBytes) {
    throw new ProtocolError(`Module information of ${section.length} bytes, more than ${maxSectionBytes}`);
  }
  // Latin-1 keeps every byte; names and aliases are ASCII, authors' names are not looked at.
  return new TextDecoder('latin1')
    .decode(section)
    .split('\0')
    .flatMap((text) => {
      const equals = text.indexOf('=');
      return equals > 0 ? [{ key: text.slice(0, equals), value: text.slice(equals + 1) }] : [];
    });
}

/** `pre: a b post: c`. */
function parseSoftdep(text: string): { before: string[]; after: string[] } {
  const result = { before: [] as string[], after: [] as string[] };
  let list: string[] | undefined;
  for (const word of text.split(/\s+/).filter(Boolean)) {
    if (word === 'pre:') list = result.before;
    else if (word === 'post:') list = result.after;
    else list?.push(word);
  }
  return result;
}
