import { duplexPair } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { connectQmp, type QmpEvent } from '../../../builder/vm/qmp.ts';

const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}\r\n';

/** The other end, as QEMU behaves: every command is answered in the way asked for, in order. */
function qemu(answer: (command: string, id: number) => string) {
  const [ours, theirs] = duplexPair();
  const asked: string[] = [];
  theirs.setEncoding('utf8');
  let rest = '';
  theirs.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const { execute, id } = JSON.parse(line) as { execute: string; id: number };
      asked.push(execute);
      if (theirs.writable) theirs.write(answer(execute, id));
    }
  });
  return { ours, theirs, asked };
}

const signal = new AbortController().signal;
const ok = (_: string, id: number) => `{"return": {}, "id": ${id}}\r\n`;

describe('connectQmp', () => {
  test('waits for the greeting, negotiates, then runs commands', async () => {
    const { ours, theirs, asked } = qemu(ok);
    theirs.write(greeting);
    const client = await connectQmp(ours, { onEvent: () => {}, signal });
    await client.execute('system_powerdown');
    expect(asked).toEqual(['qmp_capabilities', 'system_powerdown']);
  });

  test('events come through between replies, byte by byte too', async () => {
    const events: QmpEvent[] = [];
    const { ours, theirs } = qemu(
      (command, id) => `{"event": "RESET", "data": {"guest": true}, "timestamp": {}}\r\n${ok(command, id)}`,
    );
    for (const character of greeting) theirs.write(character);
    await connectQmp(ours, { onEvent: (event) => events.push(event), signal });
    expect(events).toEqual([{ name: 'RESET', data: { guest: true } }]);
  });

  test('a refusal is told in QEMU’s words', async () => {
    const { ours, theirs } = qemu((command, id) =>
      command === 'frob'
        ? `{"error": {"class": "CommandNotFound", "desc": "The command frob has not been found"}, "id": ${id}}\n`
        : ok(command, id),
    );
    theirs.write(greeting);
    const client = await connectQmp(ours, { onEvent: () => {}, signal });
    await expect(client.execute('frob')).rejects.toThrow('The command frob has not been found');
  });

  test('what is no QMP is refused', async () => {
    for (const line of ['220 mail.example.org ESMTP\n', '[]\n', '{"id": "1"}\n']) {
      const { ours, theirs } = qemu(ok);
      theirs.write(line);
      await expect(connectQmp(ours, { onEvent: () => {}, signal }), line).rejects.toThrow(ProtocolError);
    }
  });

  test('an endless line is refused', async () => {
    const { ours, theirs } = qemu(ok);
    theirs.write('x'.repeat(1024 * 1024 + 1));
    await expect(connectQmp(ours, { onEvent: () => {}, signal })).rejects.toThrow('endless');
  });

  test('commands fail when QEMU goes away, before, during and after', async () => {
    const { ours, theirs } = qemu((command, id) => (command === 'stop' ? '' : ok(command, id)));
    theirs.write(greeting);
    const client = await connectQmp(ours, { onEvent: () => {}, signal });
    const during = client.execute('stop');
    theirs.end();
    await expect(during).rejects.toThrow('QEMU is gone');
    await expect(client.execute('stop')).rejects.toThrow('QEMU is gone');
  });

  test('the signal ends all', async () => {
    const { ours } = qemu(ok);
    const stop = new AbortController();
    const connecting = connectQmp(ours, { onEvent: () => {}, signal: stop.signal });
    stop.abort();
    await expect(connecting).rejects.toThrow(ProtocolError);
  });
});
