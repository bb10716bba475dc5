/** Independent DKIM verifiers, each given the key records that exist. */
import { spawnSync } from 'node:child_process';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';

/** One record at every name, or records by name. */
export type KeyRecords = string | Readonly<Record<string, string>>;

export interface DkimJudge {
  readonly name: string;
  /** True when there is a signature, and every one on the message is valid under `records`. */
  verify(message: Buffer, records: KeyRecords): Promise<boolean>;
}

const dkimpyProgram = `
import dkim, json, sys
records = json.loads(sys.argv[1])
def lookup(name, timeout=5):
    if isinstance(records, str):
        return records.encode()
    return records.get(name.decode().rstrip('.'), '').encode()
message = sys.stdin.buffer.read()
count = len([h for h in dkim.rfc822_parse(message)[0] if h[0].lower() == b'dkim-signature'])
def verify(index):
    try:
        return dkim.DKIM(message).verify(idx=index, dnsfunc=lookup)
    except dkim.DKIMException:
        return False
valid = count > 0 and all(verify(index) for index in range(count))
sys.exit(0 if valid else 1)
`;

const mailauth: DkimJudge = {
  name: 'mailauth (strict)',
  verify: async (message, records) => {
    const { results } = await dkimVerify(message, {
      strict: true,
      resolver: (name: string) => {
        const record = typeof records === 'string' ? records : records[name];
        if (record !== undefined) return Promise.resolve([[record]]);
        return Promise.reject(Object.assign(new Error('No such name'), { code: 'ENOTFOUND' }));
      },
    });
    return results.length > 0 && results.every((result) => result.status.result === 'pass');
  },
};

const dkimpy: DkimJudge = {
  name: 'dkimpy',
  verify: (message, records) => {
    const { status, stderr } = spawnSync('/usr/bin/python3', ['-c', dkimpyProgram, JSON.stringify(records)], {
      input: message,
    });
    if (status === null || stderr.length > 0) throw new Error(`dkimpy: ${stderr.toString()}`);
    return Promise.resolve(status === 0);
  },
};

const hasDkimpy = spawnSync('/usr/bin/python3', ['-c', 'import dkim']).status === 0;

/** dkimpy is Debian's python3-dkim; where it is missing only mailauth judges. */
export const dkimJudges: readonly DkimJudge[] = hasDkimpy ? [mailauth, dkimpy] : [mailauth];
