/** Cloudflare, by name: its SDK is loaded only when it is used. */
import { type ProviderDefinition, requireCredential } from '../provider.ts';

export const cloudflare: ProviderDefinition = {
  name: 'cloudflare',
  title: 'Cloudflare',
  credentials: [{ variable: 'CLOUDFLARE_API_TOKEN', title: 'API token', secret: true }],
  instructions:
    'Make a token with the template "Edit zone DNS" for this zone at https://dash.cloudflare.com/profile/api-tokens',
  nameServerPattern: /(^|\.)(ns\.cloudflare\.com)$/,
  async create(credentials, context) {
    const token = requireCredential(credentials, 'CLOUDFLARE_API_TOKEN');
    const { createCloudflare } = await import('./cloudflare-client.ts');
    return createCloudflare(token, context);
  },
};
