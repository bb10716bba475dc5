/** A certificate authority of a test, by the openssl command: P-256 keys, chains of one. */
import { execFileSync } from 'node:child_process';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Authority {
  /** PEM, for those who shall believe it. */
  readonly certificate: string;
  /** Key and certificate in one PEM for these names and addresses, valid for a day. */
  issue(names: readonly string[]): Promise<string>;
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const;

export async function makeAuthority(name = 'Test authority'): Promise<Authority> {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'authority-'));
  const path = (file: string) => join(directory.path, file);
  // prettier-ignore
  openssl('req', '-x509', ...newKey, '-keyout', path('ca.key'), '-out', path('ca.pem'),
    '-subj', `/CN=${name}`, '-days', '2', '-addext', 'basicConstraints=critical,CA:TRUE');
  const [key, certificate] = await Promise.all([
    readFile(path('ca.key'), 'utf8'),
    readFile(path('ca.pem'), 'utf8'),
  ]);
  return {
    certificate,
    async issue(names) {
      await using place = await mkdtempDisposable(join(tmpdir(), 'issue-'));
      const at = (file: string) => join(place.path, file);
      await writeFile(at('ca.key'), key);
      await writeFile(at('ca.pem'), certificate);
      const alternatives = names.map((one) => `${/^[\d.]+$|:/.test(one) ? 'IP' : 'DNS'}:${one}`).join();
      // prettier-ignore
      openssl('req', '-x509', ...newKey, '-keyout', at('key'), '-out', at('pem'), '-subj', '/CN=relay',
        '-days', '1', '-CA', at('ca.pem'), '-CAkey', at('ca.key'),
        '-addext', `subjectAltName=${alternatives}`, '-addext', 'basicConstraints=critical,CA:FALSE');
      return (await readFile(at('key'), 'utf8')) + (await readFile(at('pem'), 'utf8'));
    },
  };
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
