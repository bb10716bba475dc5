import { encode } from 'uqr';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../appliance/base/clock.ts';
import { consoleDevices, type ConsoleOutput } from '../../../appliance/console/outputs.ts';
import { qrCodeLines } from '../../../appliance/console/qr-code.ts';
import { drawScreen, screenKey, type ScreenState, statusLines } from '../../../appliance/console/screen.ts';
import { readyLine, StatusConsole } from '../../../appliance/console/status-console.ts';

const invite =
  'dclogin:abcdefghi@[192.0.2.1]?p=pqrstuvwxyz23456789abc&v=1&ih=192.0.2.1&ip=993&is=ssl&sh=192.0.2.1&sp=465&ss=ssl&ic=3';

const healthy: ScreenState = {
  title: '192.0.2.1',
  addresses: ['192.0.2.1'],
  services: [
    { name: 'postfix', state: 'running', pid: 7, failures: 0 },
    { name: 'dovecot', state: 'back-off', failures: 4, reason: 'exit code 89' },
  ],
  clockOk: true,
  disk: { usedBytes: 1e9, totalBytes: 16e9, minFreeBytes: 5e7 },
  problems: [],
  notes: [],
  inviteUri: invite,
};

describe('statusLines', () => {
  test('shows names, states with reasons, clock, disk and the invitation', () => {
    expect(statusLines(healthy)).toEqual([
      'Chatmail relay 192.0.2.1',
      '',
      'Address',
      '  192.0.2.1',
      '',
      'Services',
      '  postfix   ok',
      '  dovecot   back-off: exit code 89, 4 times',
      '',
      'Clock    ok',
      'Disk     6 % of 16.0 GB used',
      '',
      'To get an account, scan with Delta Chat',
    ]);
  });

  test('shows what is wrong together with what to do about it', () => {
    const lines = statusLines({
      ...healthy,
      problems: [{ path: 'line 3', message: 'Line 3 is not valid JSON', fix: 'Mend the line and try again' }],
      disk: { usedBytes: 96, totalBytes: 100, minFreeBytes: 5 },
    });
    expect(lines).toContain('PROBLEM  Line 3 is not valid JSON');
    expect(lines).toContain('  -> Mend the line and try again');
    expect(lines).toContain('PROBLEM  The disk is full: mail is refused for the time being');
  });
});

describe('screenKey', () => {
  test('changes with states, not with process ids, disk use or fresh invitations', () => {
    const key = screenKey(healthy);
    expect(
      screenKey({
        ...healthy,
        disk: { usedBytes: 2e9, totalBytes: 16e9, minFreeBytes: 5e7 },
        inviteUri: 'other',
      }),
    ).toBe(key);
    expect(
      screenKey({ ...healthy, disk: { usedBytes: 16e9, totalBytes: 16e9, minFreeBytes: 5e7 } }),
    ).not.toBe(key);
    expect(screenKey({ ...healthy, addresses: [] })).not.toBe(key);
    expect(screenKey({ ...healthy, inviteUri: undefined })).not.toBe(key);
    expect(screenKey({ ...healthy, services: [] })).not.toBe(key);
  });
});

describe('qrCodeLines', () => {
  test('draws the very modules of the code, two rows a line', async () => {
    const lines = await qrCodeLines(invite);
    const { data, size } = encode(invite, { ecc: 'L', border: 2 });
    const drawn = lines.flatMap((line) => [
      Array.from(line, (glyph) => glyph === '█' || glyph === '▀'),
      Array.from(line, (glyph) => glyph === '█' || glyph === '▄'),
    ]);
    expect(drawn.slice(0, size)).toEqual(data);
    expect(lines[0]?.trim()).toBe('');
  });

  const textScreen = { columns: 80, rows: 25 };
  const names = ['chrony', 'unbound', 'relay', 'dovecot', 'postfix', 'edge', 'dhcp', 'mdns'];
  const crowded: ScreenState = {
    ...healthy,
    title: 'chat.example.org',
    addresses: ['http://chat.local', '10.0.2.15', '2001:db8:1234:5678:5054:ff:fe12:3456'],
    services: names.map((name) => ({ name, state: 'running', failures: 0 })),
    clockOk: false,
    certificate: 'its own, until an authority vouches for it',
    notes: ['The disk has been set up'],
  };

  test.each([
    ['little', healthy],
    ['much', crowded],
  ])('fits beside the status on a text screen of 80 by 25 when there is %s to say', async (_, state) => {
    const screen = drawScreen(state, await qrCodeLines(invite), textScreen);
    expect(screen.length).toBeLessThanOrEqual(25);
    // oxlint-disable-next-line no-control-regex -- colours take no room
    for (const line of screen) expect(line.replace(/\u001B\[[\d;]*m/g, '').length).toBeLessThanOrEqual(80);
  });

  test('leaves room by naming what runs in one line; what does not run keeps its own', async () => {
    const [first, ...others] = crowded.services;
    const broken = { name: 'chrony', state: 'back-off', failures: 4, reason: 'exit code 1' } as const;
    const services = first === undefined ? [] : [broken, ...others];
    const screen = drawScreen({ ...crowded, services }, [], { columns: 80, rows: 18 });
    expect(screen).toContain('Services ok: unbound relay dovecot postfix edge dhcp mdns');
    expect(screen).toContain('  chrony    back-off: exit code 1, 4 times');
    const none = drawScreen({ ...crowded, services: [] }, [], { columns: 80, rows: 5 });
    expect(none).toContain('  none are running');
  });
});

describe('consoleDevices', () => {
  test.each([
    ['tty0 ttyS0\n', ['screen /dev/tty1', 'printer /dev/ttyS0']],
    ['ttyAMA0 tty0', ['screen /dev/tty1', 'printer /dev/ttyAMA0']],
    ['hvc0', ['printer /dev/hvc0']],
    ['', []],
    ['../x', []],
  ])('%j', (active, devices) => {
    expect(consoleDevices(active).map(({ kind, path }) => `${kind} ${path}`)).toEqual(devices);
  });
});

describe('StatusConsole', () => {
  test('redraws screens, and prints to serial lines everything once and then only news', async () => {
    const written = { screen: [] as string[], printer: [] as string[] };
    const output = (kind: 'screen' | 'printer'): ConsoleOutput => ({
      kind,
      columns: 80,
      rows: 25,
      write: async (text) => void written[kind].push(text),
    });
    let state: ScreenState = { ...healthy, inviteUri: undefined, services: [] };
    const stop = new AbortController();
    const looks: (() => void)[] = [];
    const statusConsole = new StatusConsole({
      clock: {
        ...systemClock,
        // Each look at the state waits until the test lets it.
        sleep: (ms, signal) =>
          ms < 1000
            ? Promise.resolve()
            : new Promise((resolve) => {
                looks.push(resolve);
                signal?.addEventListener('abort', () => resolve(), { once: true });
              }),
      },
      outputs: [output('screen'), output('printer')],
      readState: async () => state,
      signal: stop.signal,
    });
    const running = statusConsole.run();
    const nextLook = async () => {
      while (looks.length === 0) await new Promise((resolve) => setImmediate(resolve));
      looks.shift()?.();
      while (looks.length === 0) await new Promise((resolve) => setImmediate(resolve));
    };
    await nextLook();
    expect(written.printer.join('')).toContain('chatmail: none are running\n');
    expect(written.screen).toHaveLength(1);

    state = healthy;
    await statusConsole.ready();
    expect(written.printer.at(-1)).toBe(`${readyLine}\n`);
    expect(written.printer.at(-2)).toContain(invite);
    expect(written.screen.at(-1)).toContain('\u001B[2J');

    written.printer.length = 0;
    state = { ...healthy, services: [{ name: 'postfix', state: 'back-off', failures: 1, reason: 'killed' }] };
    await nextLook();
    expect(written.printer).toEqual(['chatmail: postfix   back-off: killed\n']);
    await nextLook();
    expect(written.printer).toHaveLength(1);
    stop.abort();
    await running;
  });
});
