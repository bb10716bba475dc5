import { type Command, parseFlags } from '../command.ts';
import { readBuildConfig } from '../../config.ts';

const help = `chatmail-build --domain NAME [options]
  --target NAME  x
`;

export const command: Command = {
  name: 'build',
  summary: 'build an image',
  help,
  async run(args, context) {
    const { values } = parseFlags(
      args,
      {
        domain: { type: 'string' },
        target: { type: 'string' },
        out: { type: 'string' },
        mirror: { type: 'string' },
        offline: { type: 'boolean' },
        refresh: { type: 'boolean' },
        lock: { type: 'string' },
        config: { type: 'string' },
        json: { type: 'boolean' },
      },
      { max: 0 },
    );
    await readBuildConfig(values, context.cwd);
    return 0;
  },
};
