/** The proxy of the operator's environment. */
import * as http from 'node:http';

/**
 * Makes downloads go through the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name, if they do. Undone
 * when the result is disposed.
 */
export function useProxyOf(env: Readonly<Record<string, string | undefined>>): Disposable {
  const names = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'];
  const isWanted = names.some((name) => (env[name] ?? '') !== '');
  const restore = isWanted ? http.setGlobalProxyFromEnv({ ...env }) : () => {};
  return { [Symbol.dispose]: restore };
}
