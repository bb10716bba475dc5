/** A resolver of a test: a table of records, some of them signed, some of them out of reach. */
import { DnsFailureError, type MailResolver } from '../../appliance/transport/resolver.ts';

export interface MailZone {
  /** `name TYPE` → values; names that stand nowhere do not exist. */
  readonly records: Readonly<Record<string, readonly string[]>>;
  /** `name TYPE`, or a whole name, whose answers are validated. */
  readonly secure?: readonly string[];
  /** `name TYPE` whose lookup fails. */
  readonly broken?: readonly string[];
}

export function mailDns({ records, secure = [], broken = [] }: MailZone): MailResolver & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    async query(name, type) {
      const question = `${name} ${type}`;
      asked.push(question);
      if (broken.includes(question)) throw new DnsFailureError(`The lookup of ${question} ended in SERVFAIL`);
      const values = records[question] ?? [];
      const isKnown = Object.keys(records).some((key) => key.split(' ')[0] === name);
      const kind = values.length > 0 ? 'records' : isKnown ? 'no-data' : 'no-name';
      const isSecure = secure.includes(question) || secure.includes(name);
      return { kind, values, owner: name, isSecure };
    },
  };
}
