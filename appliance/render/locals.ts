/** What templates may use: the whole of it. */
import { totalmem, availableParallelism } from 'node:os';
import type { Config } from '../contract/config.ts';
import { isSelfSigned, mailDomain } from '../contract/domain.ts';
import { paths } from '../contract/paths.ts';
import { ports } from '../contract/ports.ts';
import { groups, users } from '../contract/users.ts';

/** What the machine is, measured once at boot. */
export interface Machine {
  readonly memoryBytes: number;
  readonly cpuCount: number;
}

export interface TemplateLocals extends Machine {
  readonly config: Config;
  /** What follows the @: `chat.example.org`, `[192.0.2.1]`. */
  readonly mailDomain: string;
  /** A name without brackets that any program takes for a host name. */
  readonly hostname: string;
  readonly selfSigned: boolean;
  readonly ipv6: boolean;
  readonly paths: typeof paths;
  readonly ports: typeof ports;
  readonly users: typeof users;
  readonly groups: typeof groups;
}

export function measureMachine(): Machine {
  return { memoryBytes: totalmem(), cpuCount: availableParallelism() };
}

/**
 * The machine's name: its domain, or where that is an address a name that nobody looks up
 * (RFC 6762 appendix G would rather not have `.local` used for it).
 */
export function hostnameOf({ domain }: Config): string {
  return domain.kind === 'name' ? domain.name : 'chatmail.internal';
}

export function templateLocals(config: Config, machine: Machine): TemplateLocals {
  return {
    ...machine,
    config,
    mailDomain: mailDomain(config.domain),
    hostname: hostnameOf(config),
    selfSigned: isSelfSigned(config.domain),
    ipv6: config.network.ipv6 !== 'off',
    paths,
    ports,
    users,
    groups,
  };
}
