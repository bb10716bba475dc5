import { describe, expect, test } from 'vitest';
import { type Exchange, NoAnswerError } from '../../../appliance/dns/exchange.ts';
import { emptyMessage, type Message, rcodes } from '../../../appliance/dns/message.ts';
import {
  createResolver,
  DnsFailureError,
  lookupAddresses,
  lookupTxt,
} from '../../../appliance/transport/resolver.ts';
import { mailDns } from '../../fakes/mail-dns.ts';

const signal = new AbortController().signal;

function resolver(reply: Partial<Message> | Error) {
  const asked: Message[] = [];
  const exchange: Exchange = async (_, query) => {
    asked.push(query);
    if (reply instanceof Error) throw reply;
    return { ...emptyMessage, response: true, ...reply };
  };
  const one = createResolver({ address: '127.0.0.1' }, exchange);
  return { asked, one };
}

const record = (name: string, type: string, value: string) => ({ name, type, class: 1, ttlSec: 60, value });

describe('createResolver', () => {
  test('asks whether the answer is authentic, and tells', async () => {
    const { asked, one } = resolver({
      authenticData: true,
      answers: [record('mx.example', 'A', '192.0.2.1')],
    });
    expect(await one.query('MX.Example.', 'A', signal)).toEqual({
      kind: 'records',
      values: ['192.0.2.1'],
      owner: 'mx.example',
      isSecure: true,
    });
    expect(asked[0]).toMatchObject({ authenticData: true, recursionDesired: true });
    expect(asked[0]?.questions).toEqual([{ name: 'mx.example', type: 'A', class: 1 }]);
  });

  test('follows aliases to the name that has the records', async () => {
    const { one } = resolver({
      answers: [
        record('c.example', 'A', '192.0.2.3'),
        record('b.example', 'CNAME', 'c.example.'),
        record('a.example', 'CNAME', 'B.example.'),
        record('z.example', 'A', '192.0.2.9'),
      ],
    });
    expect(await one.query('a.example', 'A', signal)).toMatchObject({
      values: ['192.0.2.3'],
      owner: 'c.example',
    });
  });

  test('is not led in circles', async () => {
    const { one } = resolver({
      answers: [record('a.example', 'CNAME', 'b.example.'), record('b.example', 'CNAME', 'a.example.')],
    });
    expect((await one.query('a.example', 'A', signal)).kind).toBe('no-data');
  });

  test('tells a name without records from no name', async () => {
    expect((await resolver({}).one.query('a.example', 'MX', signal)).kind).toBe('no-data');
    expect((await resolver({ rcode: rcodes.nxDomain }).one.query('a.example', 'MX', signal)).kind).toBe(
      'no-name',
    );
  });

  test.each([
    ['SERVFAIL, which is also what bogus looks like', { rcode: rcodes.servFail }],
    ['a refusal', { rcode: rcodes.refused }],
    ['no answer', new NoAnswerError('timeout', '127.0.0.1 does not answer')],
  ])('%s is a failure', async (_, reply) => {
    await expect(resolver(reply).one.query('a.example', 'TLSA', signal)).rejects.toThrow(DnsFailureError);
  });

  test('a name that does not fit into DNS is a failure, too', async () => {
    const one = createResolver({ address: '127.0.0.1', port: 1 });
    await expect(one.query(`${'a'.repeat(64)}.example`, 'MX', signal)).rejects.toThrow(DnsFailureError);
  });

  test('joins the strings of a TXT record', async () => {
    const { one } = resolver({
      answers: [record('_smtp._tls.a.example', 'TXT', '"v=TLSRPTv1;" "rua=mailto:a@b.c"')],
    });
    expect(await lookupTxt(one, '_smtp._tls.a.example', signal)).toEqual(['v=TLSRPTv1;rua=mailto:a@b.c']);
  });
});

describe('lookupAddresses', () => {
  const records = { 'mx.example A': ['192.0.2.1'], 'mx.example AAAA': ['2001:db8::1'] };

  test('finds both families, IPv6 first', async () => {
    expect(await lookupAddresses(mailDns({ records, secure: ['mx.example'] }), 'mx.example', signal)).toEqual(
      {
        addresses: ['2001:db8::1', '192.0.2.1'],
        isSecure: true,
        owner: 'mx.example',
      },
    );
  });

  test('one family that fails keeps no mail from the other, and is no ground for DANE', async () => {
    const dns = mailDns({ records, secure: ['mx.example'], broken: ['mx.example AAAA'] });
    expect(await lookupAddresses(dns, 'mx.example', signal)).toMatchObject({
      addresses: ['192.0.2.1'],
      isSecure: false,
    });
  });

  test('fails where both do', async () => {
    const dns = mailDns({ records: {}, broken: ['mx.example A', 'mx.example AAAA'] });
    await expect(lookupAddresses(dns, 'mx.example', signal)).rejects.toThrow(DnsFailureError);
  });
});
