/** The bill of materials beside an image: CycloneDX 1.6, one component a Debian or npm package. Pure. */
import { createHash } from 'node:crypto';

export interface SbomComponent {
  readonly ecosystem: 'deb' | 'npm';
  readonly name: string;
  readonly version: string;
  /** Debian architecture, for `deb`. */
  readonly architecture?: string;
  /** Debian source package, where its name or version differs. */
  readonly source?: { readonly name: string; readonly version: string };
  readonly sha256?: string;
  /** SPDX expression, where known. */
  readonly license?: string;
  /** What was changed in it, if anything. */
  readonly note?: string;
}

export interface SbomSubject {
  readonly name: string;
  readonly version: string;
  readonly target: string;
  readonly rootSha256: string;
  /** ISO 8601; from the lock, never from the clock. */
  readonly timestamp: string;
}

/** Renders the document; equal input gives equal text. */
export function renderSbom(subject: SbomSubject, components: readonly SbomComponent[]): string {
  const rendered = components
    .map(renderComponent)
    .sort((one, other) => (one['bom-ref'] < other['bom-ref'] ? -1 : 1));
  const document = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify([subject, rendered]))}`,
    version: 1,
    metadata: {
      timestamp: subject.timestamp,
      tools: { components: [{ type: 'application', name: subject.name, version: subject.version }] },
      component: {
        type: 'operating-system',
        'bom-ref': 'root',
        name: `chatmail appliance ${subject.target}`,
        version: subject.version,
        hashes: [{ alg: 'SHA-256', content: subject.rootSha256 }],
      },
    },
    components: rendered,
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function renderComponent(component: SbomComponent) {
  const purl = purlOf(component);
  return {
    type: component.ecosystem === 'npm' ? 'library' : 'application',
    'bom-ref': purl,
    name: component.name,
    version: component.version,
    purl,
    ...(component.sha256 === undefined ? {} : { hashes: [{ alg: 'SHA-256', content: component.sha256 }] }),
    ...(component.license === undefined ? {} : { licenses: [{ expression: component.license }] }),
    ...(component.note === undefined ? {} : { description: component.note }),
  };
}

/** Package URL: https://github.com/package-url/purl-spec, types deb and npm. */
function purlOf({ ecosystem, name, version, architecture, source }: SbomComponent): string {
  const encode = (text: string) => encodeURIComponent(text).replaceAll('%3A', ':');
  if (ecosystem === 'npm') return `pkg:npm/${name.split('/').map(encode).join('/')}@${encode(version)}`;
  const qualifiers = [
    ...(architecture === undefined ? [] : [`arch=${architecture}`]),
    'distro=debian-13',
    ...(source === undefined ? [] : [`upstream=${encode(`${source.name}@${source.version}`)}`]),
  ];
  return `pkg:deb/debian/${encode(name)}@${encode(version)}?${qualifiers.join('&')}`;
}

function uuidOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  // RFC 9562 §5.8: version 8, variant 10.
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
