/** Where this package's own files lie (appliance/, templates/): the checkout, or what npm installed. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * The nearest directory above `start` with a package.json: the sources and what is compiled of them (dist/)
 * lie at different depths below it.
 * @throws Error when there is none
 */
export function packageDirectory(start: string = import.meta.dirname): string {
  for (let directory = start; ; directory = dirname(directory)) {
    if (existsSync(join(directory, 'package.json'))) return directory;
    if (dirname(directory) === directory) throw new Error(`No package.json lies above ${start}`);
  }
}
