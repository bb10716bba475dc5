/**
 * Settings that mail programs ask for by themselves. Mozilla's autoconfig ("Config File Format" of
 * draft-ietf-mailmaint-autoconfig) and Microsoft's autodiscover ([MS-OXDSCLI], the "outlook" schema). Delta
 * Chat reads both. Pure.
 */
import { type Domain, mailDomain, plainDomain } from '../contract/domain.ts';
import { ports } from '../contract/ports.ts';

/** Where mail is fetched and handed in. Port 443 tells mail from the web by ALPN, which clients know that need it. */
export const mailServers = [
  { type: 'imap', port: ports.imaps, socketType: 'SSL' },
  { type: 'imap', port: ports.imap, socketType: 'STARTTLS' },
  { type: 'imap', port: ports.https, socketType: 'SSL' },
  { type: 'smtp', port: ports.submissions, socketType: 'SSL' },
  { type: 'smtp', port: ports.submission, socketType: 'STARTTLS' },
  { type: 'smtp', port: ports.https, socketType: 'SSL' },
] as const;

/** Text as XML content or attribute value, whatever it holds. */
export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&apos;');
}

/** The answer at /.well-known/autoconfig/mail/config-v1.1.xml. */
export function autoconfigXml(domain: Domain): string {
  const host = escapeXml(plainDomain(domain));
  const lines = mailServers.map(({ type, port, socketType }) => {
    const element = type === 'imap' ? 'incomingServer' : 'outgoingServer';
    return `    <${element} type="${type}">
      <hostname>${host}</hostname>
      <port>${port}</port>
      <socketType>${socketType}</socketType>
      <username>%EMAILADDRESS%</username>
      <authentication>password-cleartext</authentication>
    </${element}>
`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="${host}">
    <domain>${escapeXml(mailDomain(domain))}</domain>
    <displayName>${host} chatmail</displayName>
    <displayShortName>${host}</displayShortName>
${lines.join('')}  </emailProvider>
</clientConfig>
`;
}

/** RFC 5321 §4.5.3.1.3, with room for entities. */
const maxAddressLength = 1024;

/**
 * The address in an autodiscover request, or null. No XML parser: one element of text is all there is to it.
 */
export function autodiscoverAddress(body: string): string | null {
  // Spaces are taken off afterwards: to look for them on both sides of a text takes seconds where there is no end.
  const text = /<(?:\w{1,32}:)?EMailAddress>([^<]*)<\//i.exec(body)?.[1]?.trim();
  if (text === undefined || text === '' || text.length > maxAddressLength) return null;
  const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
  return text.replace(/&(lt|gt|amp|quot|apos);/g, (whole, name: string) => entities[name] ?? whole);
}

/** The answer to an autodiscover request for `address`, which may be anything. */
export function autodiscoverXml(domain: Domain, address: string): string {
  const host = escapeXml(plainDomain(domain));
  // XML 1.0 §2.2 knows no control characters, not even escaped.
  // oxlint-disable-next-line no-control-regex
  const login = escapeXml(address.replace(/[\u0000-\u001f\u007f\ufffe\uffff]/g, '').toWellFormed());
  // Outlook's words: SSL on is TLS from the first byte, Encryption TLS is STARTTLS.
  const protocols = mailServers
    .filter(({ port }) => port !== ports.https)
    .map(
      ({ type, port, socketType }) => `      <Protocol>
        <Type>${type.toUpperCase()}</Type>
        <Server>${host}</Server>
        <Port>${port}</Port>
        <LoginName>${login}</LoginName>
        <DomainRequired>off</DomainRequired>
        <SPA>off</SPA>
        <SSL>on</SSL>
        <Encryption>${socketType === 'SSL' ? 'SSL' : 'TLS'}</Encryption>
        <AuthRequired>on</AuthRequired>
      </Protocol>
`,
    );
  return `<?xml version="1.0" encoding="UTF-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">
  <Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a">
    <Account>
      <AccountType>email</AccountType>
      <Action>settings</Action>
${protocols.join('')}    </Account>
  </Response>
</Autodiscover>
`;
}
