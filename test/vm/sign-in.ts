/** A person with Delta Chat who makes an account in a machine by signing in, as an invitation has it. */
import { DeltaChat } from '../oracles/delta-chat.ts';
import type { TestVm } from './qemu.ts';

export interface NewAccount {
  readonly vm: TestVm;
  readonly domain: string;
  readonly localpart: string;
  /** For every wait of this core's. */
  readonly timeoutMs: number;
}

/** Starts a core of its own and signs in, with TLS from the first byte. */
export async function signIn({ vm, domain, localpart, timeoutMs }: NewAccount): Promise<DeltaChat> {
  const core = await DeltaChat.start({ timeoutMs });
  try {
    await core.configure({
      address: `${localpart}@${domain}`,
      password: `secret-of-${localpart}`,
      imap: { host: vm.host, port: vm.ports.imaps, security: 'ssl' },
      smtp: { host: vm.host, port: vm.ports.submissions, security: 'ssl' },
      acceptInvalidCertificates: true,
    });
    return core;
  } catch (error) {
    await core[Symbol.asyncDispose]();
    throw error;
  }
}
