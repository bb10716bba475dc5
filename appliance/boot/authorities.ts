/** The file of certificate authorities that relay and edge believe. */
import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Config } from '../contract/config.ts';

/** Debian's bundle, as its ca-certificates package would make it. */
const bundle = '/etc/ssl/certs/ca-certificates.crt';

/** Writes the public authorities and those of the configuration to `path`, for everybody to read. */
export async function writeAuthorities(
  { tls }: Pick<Config, 'tls'>,
  path: string,
  publicAuthorities = bundle,
): Promise<void> {
  const texts = [await readFile(publicAuthorities, 'utf8'), ...tls.authorities];
  const text = texts.map((one) => `${one.trimEnd()}\n`).join('');
  await writeFileAtomic(path, text, { mode: 0o644, flush: false });
}
