/** Which time to believe at boot, on boards that may have no clock of their own. Pure. */

/** Nothing that is later than this is believed from a file: 2100-01-01. */
const latestMs = Date.UTC(2100, 0, 1);

/**
 * The latest of what the machine's clock says, the time saved last, and the day the system was built: time
 * never goes backwards, and certificates and DNSSEC signatures are at most as stale as the last hour on.
 * @param savedText content of the file with the time saved last, seconds since 1970, or undefined
 * @param builtText date of the release (ISO 8601), or undefined
 */
export function chooseTime(
  systemMs: number,
  savedText: string | undefined,
  builtText: string | undefined,
): number {
  const saved = savedText !== undefined && /^\d{1,12}\s*$/.test(savedText) ? Number(savedText) * 1000 : 0;
  const built = builtText === undefined ? 0 : Date.parse(builtText);
  const believed = [saved, built].filter((time) => Number.isFinite(time) && time < latestMs);
  return Math.max(systemMs, ...believed);
}

/** True when the machine's own clock is no later than what is known anyway: it has none, or lost it. */
export function isClockless(systemMs: number, chosenMs: number): boolean {
  return systemMs < chosenMs;
}
