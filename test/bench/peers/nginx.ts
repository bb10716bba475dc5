/** nginx as a multiplexer by ALPN, set up as chatmail/relay sets it up: `stream` with `ssl_preread`. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Writes a configuration for one worker in the foreground; resolves to the command's arguments. */
export async function configureNginx(
  directory: string,
  options: {
    readonly port: number;
    /** Ports on loopback by ALPN protocol; the first one is for everybody else too. */
    readonly backends: ReadonlyMap<string, number>;
  },
): Promise<readonly string[]> {
  const file = join(directory, 'nginx.conf');
  const prefix = join(directory, 'nginx');
  await mkdir(prefix, { recursive: true });
  const [fallback = 0] = options.backends.values();
  await writeFile(
    file,
    [
      'load_module /usr/lib/nginx/modules/ngx_stream_module.so;',
      'daemon off;',
      // Ours is one process as well.
      'worker_processes 1;',
      'user root;',
      `pid ${join(prefix, 'pid')};`,
      `error_log ${join(prefix, 'error.log')} error;`,
      'worker_rlimit_nofile 20000;',
      'events { worker_connections 8192; }',
      'stream {',
      '  map $ssl_preread_alpn_protocols $backend {',
      ...[...options.backends].map(([name, port]) => `    ~\\b${name}\\b 127.0.0.1:${port};`),
      `    default 127.0.0.1:${fallback};`,
      '  }',
      '  server {',
      `    listen 127.0.0.1:${options.port} backlog=4096;`,
      '    ssl_preread on;',
      '    proxy_protocol on;',
      '    tcp_nodelay on;',
      '    proxy_half_close on;',
      '    proxy_pass $backend;',
      '  }',
      '}',
      '',
    ].join('\n'),
  );
  return ['-c', file, '-p', prefix];
}
