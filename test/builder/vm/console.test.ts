import { describe, expect, test } from 'vitest';
import { createConsole } from '../../../builder/vm/console.ts';

const forever = new AbortController().signal;

describe('createConsole', () => {
  test('keeps text without carriage returns, escape sequences and control characters', () => {
    const console = createConsole();
    console.push('\x1b[2J\x1b[01;01H\x1b[0mSeaBIOS\x07\r\n\tÄ\x1b=ok\r\n');
    expect(console.text).toBe('SeaBIOS\n\tÄok\n');
  });

  test('knows an escape sequence that comes byte by byte', () => {
    const console = createConsole();
    for (const character of 'a\x1b[31mb\x1b[0m\n') console.push(character);
    expect(console.text).toBe('ab\n');
  });

  test('hands out whole lines, however they were cut', () => {
    const console = createConsole();
    const lines: string[] = [];
    console.onLine((line) => lines.push(line));
    for (const chunk of ['on', 'e\r', '\ntwo\n', 'thr']) console.push(chunk);
    expect(lines).toEqual(['one', 'two']);
    expect(console.lastLines(2)).toEqual(['two', 'thr']);
  });

  test('a wait ends with text that is already there, or that comes in pieces', async () => {
    const console = createConsole();
    console.push('before\n');
    await expect(console.waitFor(/bef(ore)/, { signal: forever })).resolves.toMatchObject({ 1: 'ore' });
    const wait = console.waitFor(/login:/g, { signal: forever });
    console.push('log');
    console.push('in:');
    await expect(wait).resolves.toBeDefined();
  });

  test('`from` leaves out what was there', async () => {
    const console = createConsole();
    console.push('up\n');
    const stop = new AbortController();
    const wait = console.waitFor(/up/, { signal: stop.signal, from: console.position });
    stop.abort(new Error('not yet'));
    await expect(wait).rejects.toThrow('not yet');
    const next = console.waitFor(/up/, { signal: forever, from: console.position });
    console.push('up again\n');
    await expect(next).resolves.toBeDefined();
  });

  test('the end of the machine ends all waits', async () => {
    const console = createConsole();
    const wait = console.waitFor(/never/, { signal: forever });
    console.end(new Error('gone'));
    await expect(wait).rejects.toThrow('gone');
    await expect(console.waitFor(/never/, { signal: forever })).rejects.toThrow('gone');
  });

  test('keeps the last 4 Mi characters, and positions stay right', async () => {
    const console = createConsole();
    const block = `${'x'.repeat(1023)}\n`.repeat(1024);
    for (let index = 0; index < 5; index++) console.push(block);
    expect(console.text.length).toBe(4 * 1024 * 1024);
    expect(console.position).toBe(5 * 1024 * 1024);
    const wait = console.waitFor(/^x?end/m, { signal: forever, from: console.position });
    console.push('end');
    await expect(wait).resolves.toMatchObject({ 0: 'end' });
  });
});
