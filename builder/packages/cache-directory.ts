/** Where the cache lies when nobody says otherwise. */
import { posix, win32 } from 'node:path';

export interface CacheEnvironment {
  readonly platform: NodeJS.Platform;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly homeDirectory: string;
}

/**
 * XDG_CACHE_HOME (XDG Base Directory Specification; must be absolute, or it counts as unset) wins
 * everywhere; then `~/Library/Caches` on macOS, LOCALAPPDATA on Windows and `~/.cache` elsewhere.
 */
export function defaultCacheDirectory({ platform, env, homeDirectory }: CacheEnvironment): string {
  const path = platform === 'win32' ? win32 : posix;
  const xdg = env['XDG_CACHE_HOME'];
  if (xdg !== undefined && path.isAbsolute(xdg)) return path.join(xdg, 'chatmail-build');
  if (platform === 'darwin') return path.join(homeDirectory, 'Library', 'Caches', 'chatmail-build');
  if (platform === 'win32') {
    const local = env['LOCALAPPDATA'] ?? path.join(homeDirectory, 'AppData', 'Local');
    return path.join(local, 'chatmail-build', 'Cache');
  }
  return path.join(homeDirectory, '.cache', 'chatmail-build');
}
