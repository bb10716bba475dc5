/** Certificates in text (RFC 7468). */

/** The longest chain or list of authorities that makes sense, many times over. */
const maxPemChars = 256 * 1024;

/** The certificates of a PEM text as they follow one another; none where it is longer than any that makes sense. */
export function certificateBlocks(pem: string): readonly string[] {
  if (pem.length > maxPemChars) return [];
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}
