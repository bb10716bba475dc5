/** OpenDKIM as a signing milter, set up as chatmail/relay sets it up but for its Lua screens, which it is spared. */
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** `X-` and the like are signed by our filter and not here: in OpenDKIM's favour. */
const oversigned = [
  'From', 'Reply-To', 'Subject', 'Date', 'To', 'Cc', 'MIME-Version', 'Content-Type',
  'Content-Transfer-Encoding', 'Resent-Date', 'Resent-From', 'Resent-Sender', 'Resent-To', 'Resent-Cc',
  'In-Reply-To', 'References', 'List-Id', 'List-Help', 'List-Unsubscribe', 'List-Subscribe', 'List-Post',
  'List-Owner', 'List-Archive', 'Autocrypt',
]; // prettier-ignore

/** Writes a configuration that signs what comes from `clientAddress`; resolves to the command's arguments. */
export async function configureOpendkim(
  directory: string,
  options: {
    readonly socket: string;
    readonly domain: string;
    readonly keyFile: string;
    readonly clientAddress: string;
  },
): Promise<readonly string[]> {
  const file = join(directory, 'opendkim.conf');
  await chmod(options.keyFile, 0o600);
  await writeFile(
    file,
    [
      `Socket local:${options.socket}`,
      `Domain ${options.domain}`,
      'Selector opendkim',
      `KeyFile ${options.keyFile}`,
      // It minds that others may write to the directory above ours, /tmp.
      'RequireSafeKeys no',
      'Mode s',
      'Canonicalization relaxed/simple',
      'SignatureAlgorithm rsa-sha256',
      `OversignHeaders ${oversigned.join(',')}`,
      `InternalHosts ${options.clientAddress}`,
      'Syslog no',
      'Background no',
      '',
    ].join('\n'),
  );
  return ['-f', '-x', file];
}
