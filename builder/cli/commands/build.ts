import type { Command } from '../command.ts';
import { parseFlags } from '../command.ts';

export const command: Command = {
  name: 'build',
  summary: 'build an image',
  help: '',
  async run(args) {
    parseFlags(args, { domain: { type: 'string' } }, { max: 0 });
    return 0;
  },
};
