import { describe, expect, test } from 'vitest';
import { wifiProblem, wifiSetupProblem } from '../../../appliance/net/wifi-state.ts';

// As wpa_supplicant 2.10 of Debian 13 prints it, recorded against its hostapd on simulated radios.
const start = 'Successfully initialized wpa_supplicant';
const authenticate =
  'wlan0: SME: Trying to authenticate with 02:00:00:00:00:00 (SSID=\'Heim \\"netz\\" \\xc3\\xbc#\\\\\' freq=2412 MHz)';
const connected = 'wlan0: CTRL-EVENT-CONNECTED - Connection to 02:00:00:00:00:00 completed [id=0 id_str=]';
const saeCommitRejected =
  'wlan0: CTRL-EVENT-AUTH-REJECT 02:00:00:00:00:00 auth_type=3 auth_transaction=1 status_code=13';
const recorded = {
  wpa2WrongPassword: [
    start,
    authenticate,
    'wlan0: CTRL-EVENT-DISCONNECTED bssid=02:00:00:00:00:00 reason=15',
    'wlan0: WPA: 4-Way Handshake failed - pre-shared key may be incorrect',
    'wlan0: CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid="Heim \\"netz\\" \\xc3\\xbc#\\\\" auth_failures=1 duration=10 reason=WRONG_KEY',
  ],
  wpa3WrongPassword: [
    start,
    authenticate,
    'wlan0: CTRL-EVENT-ASSOC-REJECT bssid=02:00:00:00:00:00 status_code=43',
    authenticate,
    'wlan0: CTRL-EVENT-AUTH-REJECT 02:00:00:00:00:00 auth_type=3 auth_transaction=2 status_code=1',
    'wlan0: CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid="Heim" auth_failures=1 duration=10 reason=CONN_FAILED',
  ],
  connectedAtTheSecondAttempt: [start, authenticate, saeCommitRejected, authenticate, connected],
};

const startMs = Date.UTC(2026, 10, 21);
/** What the problem is, so many seconds after the first line; a second goes by between lines. */
const after = (seconds: number, lines: readonly string[]) =>
  wifiProblem(
    'Heim',
    lines.map((line, index) => `${new Date(startMs + 1000 * index).toISOString()} ${line}`),
    startMs + 1000 * seconds,
  )?.message;

describe('wifiProblem', () => {
  test('tells a wrong password, of WPA2 and of WPA3, at once', () => {
    const sentence = 'The password for the Wi-Fi network "Heim" is wrong';
    expect(after(5, recorded.wpa2WrongPassword)).toBe(sentence);
    expect(after(6, recorded.wpa3WrongPassword)).toBe(sentence);
    // Later attempts are no news.
    expect(after(60, [...recorded.wpa2WrongPassword, authenticate])).toBe(sentence);
  });

  test('says nothing while it is on the network, whatever came before', () => {
    expect(after(3600, recorded.connectedAtTheSecondAttempt)).toBeUndefined();
    expect(after(3600, [...recorded.wpa2WrongPassword, connected])).toBeUndefined();
    expect(after(3600, [])).toBeUndefined();
  });

  test('tells that a network is not found after a while, and again when it goes', () => {
    expect(after(19, [start])).toBeUndefined();
    expect(after(20, [start])).toBe('The Wi-Fi network "Heim" is not found');
    const gone = [start, connected, 'wlan0: CTRL-EVENT-DISCONNECTED bssid=02:00:00:00:00:00 reason=4'];
    expect(after(21, gone)).toBeUndefined();
    expect(after(22, gone)).toBe('The Wi-Fi network "Heim" is not found');
  });

  test('tells of a refusal that lasts, and of a switch', () => {
    expect(after(10, [start, saeCommitRejected])).toBeUndefined();
    expect(after(20, [start, saeCommitRejected])).toBe('The Wi-Fi network "Heim" refuses this device');
    expect(after(2, [start, 'rfkill: WLAN soft blocked'])).toContain('switched off');
  });
});

describe('wifiSetupProblem', () => {
  test('asks for what is missing', () => {
    const problem = (hasConfiguration: boolean, hasAdapter: boolean) =>
      wifiSetupProblem('Heim', { hasConfiguration, hasAdapter });
    expect(problem(true, true)).toBeUndefined();
    expect(problem(false, true)?.message).toBe('The password of the Wi-Fi network "Heim" is not known');
    expect(problem(true, false)?.fix).toContain('network cable');
  });
});
