/**
 * A provider's interface on loopback: routes, a queue of faults to answer with first, and a zone store
 * behind it. Each provider's fake refuses what the real one's documentation says it refuses.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { HeldRecordSet } from '../../../appliance/dns/provider.ts';

export interface FakeRequest {
  readonly method: string;
  /** Decoded, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** As the client sent it: with the host, undecoded. */
  readonly url: URL;
}

export interface FakeReply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly text?: string;
}

/** `hang`: never answers. `drop`: closes the connection. */
export type Fault = FakeReply | 'hang' | 'drop';

export interface HttpFake {
  readonly baseUrl: string;
  /** Answers given before any real one. */
  readonly faults: Fault[];
  readonly requests: FakeRequest[];
  close(): Promise<void>;
}

export async function startHttpFake(handle: (request: FakeRequest) => FakeReply): Promise<HttpFake> {
  const faults: Fault[] = [];
  const requests: FakeRequest[] = [];
  const server = createServer((incoming, outgoing) => {
    void readBody(incoming).then((body) => {
      const url = new URL(incoming.url ?? '/', `http://${incoming.headers.host ?? ''}`);
      const request: FakeRequest = {
        method: incoming.method ?? '',
        path: decodeURIComponent(url.pathname),
        query: url.searchParams,
        headers: Object.fromEntries(
          Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]),
        ),
        body,
        url,
      };
      requests.push(request);
      const fault = faults.shift();
      if (fault === 'hang') return;
      if (fault === 'drop') {
        incoming.socket.destroy();
        return;
      }
      const reply = fault ?? handle(request);
      outgoing.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers });
      outgoing.end(reply.text ?? (reply.json === undefined ? '' : JSON.stringify(reply.json)));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No port');
  return {
    baseUrl: `http://127.0.0.1:${address.port}`,
    faults,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

export interface StoredRecord {
  readonly id: number;
  readonly zone: string;
  /** Absolute, without the final dot. */
  readonly name: string;
  readonly type: string;
  /** Canonical. */
  readonly value: string;
  readonly ttlSec: number;
  readonly proxied?: boolean;
}

/** The records of an account, in the order they were made. */
export class ZoneStore {
  readonly zones: readonly string[];
  records: StoredRecord[] = [];
  #lastId = 1000;
  constructor(zones: readonly string[]) {
    this.zones = zones;
    for (const zone of zones)
      this.add({ zone, name: zone, type: 'NS', value: 'ns1.provider.test.', ttlSec: 3600 });
  }
  add(record: Omit<StoredRecord, 'id'>): StoredRecord {
    const stored = { ...record, id: ++this.#lastId };
    this.records.push(stored);
    return stored;
  }
  find(id: number): StoredRecord | undefined {
    return this.records.find((record) => record.id === id);
  }
  replace(id: number, record: Omit<StoredRecord, 'id'>): void {
    this.records = this.records.map((one) => (one.id === id ? { ...record, id } : one));
  }
  remove(id: number): void {
    this.records = this.records.filter((record) => record.id !== id);
  }
  of(zone: string): StoredRecord[] {
    return this.records.filter((record) => record.zone === zone);
  }
  setOf(zone: string, name: string, type: string): StoredRecord[] {
    return this.of(zone).filter((record) => record.name === name && record.type === type);
  }
  removeSet(zone: string, name: string, type: string): void {
    for (const { id } of this.setOf(zone, name, type)) this.remove(id);
  }
  putSet(zone: string, set: HeldRecordSet): void {
    this.removeSet(zone, set.name, set.type);
    for (const value of set.values) this.add({ ...set, zone, value });
  }
  /** RFC 1034 §3.6.2: a CNAME stands alone. */
  conflicts(zone: string, name: string, type: string): boolean {
    return this.of(zone).some(
      (record) =>
        record.name === name && record.type !== type && (type === 'CNAME' || record.type === 'CNAME'),
    );
  }
  truth(name: string, type: string): { ttlSec: number; values: readonly string[] } | null {
    const found = this.records.filter((record) => record.name === name && record.type === type);
    const [first] = found;
    return first === undefined ? null : { ttlSec: first.ttlSec, values: found.map(({ value }) => value) };
  }
  /** Records that only make pages. */
  fill(zone: string, count: number): void {
    for (let index = 0; index < count; index++) {
      this.add({ zone, name: `filler${index}.${zone}`, type: 'A', value: '198.51.100.1', ttlSec: 3600 });
    }
  }
}

/** One page of a list, counted from 1. */
export function pageOf<T>(items: readonly T[], page: number, size: number): readonly T[] {
  return items.slice((page - 1) * size, page * size);
}

export function jsonOf(request: FakeRequest): Record<string, unknown> {
  const value: unknown = JSON.parse(request.body);
  if (typeof value !== 'object' || value === null) throw new Error('The body is not an object');
  return value as Record<string, unknown>;
}
