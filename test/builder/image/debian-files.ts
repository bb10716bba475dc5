/**
 * Files out of Debian 13's packages for tests that boot something, fetched by the host's apt from the
 * mirror it uses anyway, and kept between runs.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Unpacks packages of trixie for amd64 and gives the directory that holds their files.
 * @param names packages; `linux-image-amd64` and `linux-image-cloud-amd64` stand for the kernel they depend on
 * @param set those who want other kernels than most say so, and get a directory of their own
 */
export async function unpackDebianPackages(names: readonly string[], set = ''): Promise<string> {
  const directory = join(tmpdir(), `chatmail-build-test-debian${set === '' ? '' : `-${set}`}`);
  const [state, archives, files] = ['state', 'archives', 'files'].map((name) => join(directory, name));
  if (state === undefined || archives === undefined || files === undefined) throw new Error('No directories');
  for (const each of [join(state, 'lists', 'partial'), archives, files])
    await mkdir(each, { recursive: true });

  const { stdout: targets } = await run('apt-get', ['indextargets', '--format', '$(REPO_URI) $(LABEL)']);
  const mirror = /^(\S+) Debian$/m.exec(targets)?.[1];
  if (mirror === undefined) throw new Error('The host’s apt has no Debian mirror');
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  await writeFile(join(state, 'sources.list'), `deb [signed-by=${keyring}] ${mirror} trixie main\n`);
  await writeFile(
    join(state, 'apt.conf'),
    `Dir::Etc::sourcelist "${state}/sources.list"; Dir::Etc::sourceparts "-"; Dir::State::lists "${state}/lists";
     Dir::Cache "${state}"; APT::Architectures "amd64"; APT::Sandbox::User "root";\n`,
  );
  const apt = { env: { ...process.env, APT_CONFIG: join(state, 'apt.conf') }, cwd: archives };
  await run('apt-get', ['update', '-q'], apt);
  const wanted: string[] = [];
  for (const name of names) {
    const { stdout } = await run('apt-cache', ['depends', name], apt);
    const image = /^\s*Depends: (linux-image-\S+)/m.exec(stdout)?.[1];
    wanted.push(/^linux-image-(cloud-)?amd64$/.test(name) && image !== undefined ? image : name);
  }
  const before = new Set(await readdir(archives));
  await run('apt-get', ['download', '-q', ...wanted], apt);
  for (const archive of await readdir(archives)) {
    if (!before.has(archive)) await run('dpkg-deb', ['-x', join(archives, archive), files]);
  }
  return files;
}
