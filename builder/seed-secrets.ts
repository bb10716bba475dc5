/**
 * What of the operator's keys and credentials goes into the seed, so that the key that is published is the
 * one that signs, and a rebuilt or reflashed relay keeps its own.
 */
import type { Config, ConfigDocument } from '../appliance/contract/config.ts';
import type { ProviderDefinition } from '../appliance/dns/provider.ts';
import type { SeedAdditions } from './config.ts';
import { ensureDkimEd25519Key, ensureDkimKey, keyFileNames, openKeyFolder, readKeyFile } from './keys.ts';

export interface SeedSecrets {
  readonly additions: SeedAdditions;
  /** True when the DKIM key was made, or taken into the folder, just now. */
  readonly newDkimKey: boolean;
}

export interface SeedSecretsInput {
  readonly appliance: Pick<Config, 'domain'>;
  /** The operator's own settings, which the additions go over. */
  readonly document: ConfigDocument;
  readonly keyFolder: string;
  /** Makes the second DKIM key where there is none. */
  readonly ed25519: boolean;
  /** Where the device may change records; null: nowhere but where the document says. */
  readonly dnsOnDevice: DeviceCredentials | null;
}

export interface DeviceCredentials {
  readonly definition: ProviderDefinition;
  /** More than this provider's are left out. */
  readonly credentials: Readonly<Record<string, string>>;
}

/**
 * Makes the keys where they are missing: to be called when nothing else can be refused any more.
 * @throws ConfigError when the folder is open to others, or has another key than the document
 */
export async function makeSeedSecrets(input: SeedSecretsInput): Promise<SeedSecrets> {
  const { document } = input;
  // There is no zone to publish the key of an address in.
  if (input.appliance.domain.kind === 'ip') return { additions: {}, newDkimKey: false };
  const folder = await openKeyFolder(input.keyFolder);
  const rsa = await ensureDkimKey(folder, document.secrets?.dkimKey);
  const second = input.ed25519
    ? (await ensureDkimEd25519Key(folder)).pem
    : await readKeyFile(folder, keyFileNames.dkimEd25519);
  const { dnsOnDevice } = input;
  const secrets = {
    ...document.secrets,
    dkimKey: rsa.pem,
    ...(second === null ? {} : { dkimEd25519Key: second }),
    ...(dnsOnDevice === null ? {} : { dnsCredentials: ownCredentials(dnsOnDevice) }),
  };
  const dns =
    dnsOnDevice === null
      ? {}
      : { dns: { updateAddresses: true, ...document.dns, provider: dnsOnDevice.definition.name } };
  return { additions: { ...dns, secrets }, newDkimKey: rsa.created };
}

/** In the provider's order, so that the same credentials are the same bytes. */
function ownCredentials({ definition, credentials }: DeviceCredentials): Record<string, string> {
  return Object.fromEntries(
    definition.credentials.flatMap(({ variable }) => {
      const value = credentials[variable];
      return value === undefined ? [] : [[variable, value]];
    }),
  );
}
