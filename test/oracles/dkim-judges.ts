/** Independent DKIM verifiers, each given the one key record that exists. */
import { spawnSync } from 'node:child_process';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';

export interface DkimJudge {
  readonly name: string;
  /** True when every signature on the message is valid under `record`. */
  verify(message: Buffer, record: string): Promise<boolean>;
}

const dkimpyProgram = `
import dkim, sys
record = sys.argv[1].encode()
message = sys.stdin.buffer.read()
sys.exit(0 if dkim.verify(message, dnsfunc=lambda name, timeout=5: record) else 1)
`;

const mailauth: DkimJudge = {
  name: 'mailauth (strict)',
  verify: async (message, record) => {
    const { results } = await dkimVerify(message, {
      strict: true,
      resolver: () => Promise.resolve([[record]]),
    });
    return results.length > 0 && results.every((result) => result.status.result === 'pass');
  },
};

const dkimpy: DkimJudge = {
  name: 'dkimpy',
  verify: (message, record) => {
    const { status, stderr } = spawnSync('/usr/bin/python3', ['-c', dkimpyProgram, record], {
      input: message,
    });
    if (status === null || stderr.length > 0) throw new Error(`dkimpy: ${stderr.toString()}`);
    return Promise.resolve(status === 0);
  },
};

const hasDkimpy = spawnSync('/usr/bin/python3', ['-c', 'import dkim']).status === 0;

/** dkimpy is Debian's python3-dkim; where it is missing only mailauth judges. */
export const dkimJudges: readonly DkimJudge[] = hasDkimpy ? [mailauth, dkimpy] : [mailauth];
