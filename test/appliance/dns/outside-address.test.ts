import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Exchange, NoAnswerError } from '../../../appliance/dns/exchange.ts';
import { addressSources, agreedAddress, askOutside } from '../../../appliance/dns/outside-address.ts';

describe('agreedAddress', () => {
  test.each([
    [['8.8.4.4', '8.8.4.4', '8.8.4.4'], '8.8.4.4'],
    [['8.8.4.4', null, '8.8.4.4'], '8.8.4.4'],
    [['8.8.4.4', '9.9.9.9', '8.8.4.4'], '8.8.4.4'],
    [['8.8.4.4', null, null], null],
    [['8.8.4.4', '9.9.9.9', null], null],
    [['8.8.4.4', '8.8.4.4', '9.9.9.9', '9.9.9.9'], null],
    [['100.64.0.9', '100.64.0.9', '100.64.0.9'], null],
    [['2a01:4f8::1', '2a01:4f8::1'], null],
    [['8.8.4.4 "', '8.8.4.4 "'], null],
    [[], null],
  ])('of %j is %s', (answers, address) => {
    expect(agreedAddress(answers)).toBe(address);
  });

  test('one voice never decides', () => {
    fc.assert(fc.property(fc.string(), (one) => agreedAddress([one, null, null]) === null));
  });
});

describe('askOutside', () => {
  const real = new AbortController().signal;
  const told = (answers: Readonly<Record<string, string | Error>>): Exchange => {
    return async (server, query, { tcp }) => {
      expect(tcp).toBe(true);
      const [question] = query.questions;
      const value = answers[server.address];
      if (question === undefined || value === undefined) throw new NoAnswerError('timeout', 'silent');
      if (value instanceof Error) throw value;
      const record = { name: question.name, type: question.type, class: question.class, ttlSec: 0, value };
      return { ...query, response: true, answers: value === '' ? [] : [record] };
    };
  };

  test('reads addresses and texts, and minds no source that is silent', async () => {
    const exchange = told({ '208.67.222.222': '8.8.4.4', '216.239.32.10': '"8.8.4.4"' });
    expect(await askOutside(exchange, real)).toBe('8.8.4.4');
  });

  test('behind a provider that answers port 53 itself nothing is found', async () => {
    const resolver = '"198.44.0.53"';
    const exchange = told({ '208.67.222.222': '', '1.1.1.1': '', '216.239.32.10': resolver });
    expect(await askOutside(exchange, real)).toBeNull();
  });

  test('asks each operator once', () => {
    expect(new Set(addressSources.map(({ server }) => server.address)).size).toBe(addressSources.length);
    expect(addressSources.length).toBeGreaterThanOrEqual(3);
  });
});
