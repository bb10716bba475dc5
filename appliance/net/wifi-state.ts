/**
 * What is wrong with the Wi-Fi, in a sentence for people: read from what wpa_supplicant says (wpa_ctrl.h,
 * WPA_EVENT_…). That it does not find a network it says on its control socket alone, so that is concluded
 * from its silence. Pure.
 */
import type { Problem } from '../contract/status.ts';

/** A scan of all channels takes some seconds; many access points need a second one. */
const searchMs = 20_000;

type Trouble = 'password' | 'refused' | 'blocked';

const events: readonly (readonly [RegExp, Trouble | 'start' | 'connected' | 'lost'])[] = [
  [/Successfully initialized wpa_supplicant/, 'start'],
  [/CTRL-EVENT-CONNECTED /, 'connected'],
  [/CTRL-EVENT-SSID-TEMP-DISABLED .*reason=WRONG_KEY/, 'password'],
  [/pre-shared key may be incorrect/, 'password'],
  // WPA3 (SAE): the second message confirms that both know the same password.
  [/CTRL-EVENT-AUTH-REJECT .*auth_type=3 auth_transaction=2 /, 'password'],
  [/CTRL-EVENT-(?:AUTH|ASSOC)-REJECT /, 'refused'],
  [/rfkill: WLAN (?:soft|hard) blocked/, 'blocked'],
  [/CTRL-EVENT-DISCONNECTED /, 'lost'],
];

/**
 * @param lines output of wpa_supplicant, oldest first, each with its time (ISO 8601) before it
 * @returns undefined while all is well, or it is too early to tell
 */
export function wifiProblem(ssid: string, lines: readonly string[], nowMs: number): Problem | undefined {
  let trouble: Trouble | undefined;
  let searchesSinceMs: number | undefined;
  for (const line of lines) {
    const [, event] = events.find(([pattern]) => pattern.test(line)) ?? [];
    if (event === undefined) continue;
    const timeMs = Date.parse(line.split(' ', 1)[0] ?? '');
    if (event === 'connected' || event === 'start') {
      trouble = undefined;
      searchesSinceMs = event === 'start' ? timeMs : undefined;
    } else if (event === 'lost') {
      searchesSinceMs ??= timeMs;
    } else if (trouble !== 'password') trouble = event;
  }
  const name = JSON.stringify(ssid);
  const of = (message: string, fix: string): Problem => ({ path: 'network.wifi', message, fix });
  const isLong = searchesSinceMs !== undefined && nowMs - searchesSinceMs >= searchMs;
  switch (trouble) {
    case 'password':
      return of(
        `The password for the Wi-Fi network ${name} is wrong`,
        'Write the right one into chatmail.json on the card: "secrets": { "wifiPassword": "…" }',
      );
    case 'refused':
      // Now and then a first attempt fails, of which nobody need know.
      if (!isLong) return undefined;
      return of(
        `The Wi-Fi network ${name} refuses this device`,
        'Look at the access point: a list of allowed devices, or too many of them?',
      );
    case 'blocked':
      return of('Wi-Fi is switched off (rfkill)', 'Is there a switch on the device, or a key?');
    case undefined:
      if (!isLong) return undefined;
      return of(
        `The Wi-Fi network ${name} is not found`,
        'Is the name in network.wifi.ssid right, letter by letter, and the access point in reach? Does it use channels of another country than network.wifi.country?',
      );
  }
}

/** What is wrong before anything has been tried. */
export function wifiSetupProblem(
  ssid: string,
  { hasConfiguration, hasAdapter }: { readonly hasConfiguration: boolean; readonly hasAdapter: boolean },
): Problem | undefined {
  if (!hasConfiguration) {
    return {
      path: 'network.wifi',
      message: `The password of the Wi-Fi network ${JSON.stringify(ssid)} is not known`,
      fix: 'Write it into chatmail.json on the card: "secrets": { "wifiPassword": "…" }; or "security": "open" beside the ssid if there is none',
    };
  }
  if (hasAdapter) return undefined;
  return {
    path: 'network.wifi',
    message: 'Wi-Fi is configured, but this machine has no Wi-Fi adapter that works',
    fix: 'Connect the network cable, or use a board with Wi-Fi',
  };
}
