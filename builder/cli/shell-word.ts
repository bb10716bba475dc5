/** Paths in commands that a person is told to type. */
import process from 'node:process';

/**
 * `text` as one word of a command line: as it is where no shell would touch it, else in quotes (POSIX shells;
 * on Windows, where no path has a double quote, cmd.exe and PowerShell). Never an option, whatever it begins with.
 */
export function shellWord(text: string, platform: NodeJS.Platform = process.platform): string {
  const word = text.startsWith('-') ? `./${text}` : text;
  if (platform === 'win32') return /^[\p{L}\p{N}_.:\\/-]+$/u.test(word) ? word : `"${word}"`;
  return /^[\p{L}\p{N}@%+=:,./_-]+$/u.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
