/** Headless Chromium (Debian's), and what went wrong in a page: messages, refused loads, other hosts. */
import { existsSync } from 'node:fs';
import { type Browser, chromium, type Page } from 'playwright-core';

const executablePath = '/usr/bin/chromium';
export const hasChromium = existsSync(executablePath);

/** Starts the browser; close it by disposal. */
export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    // Root has no sandbox, and QR codes must not depend on the machine's fonts or graphics.
    args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'],
  });
}

export const devices = {
  phone: { width: 390, height: 844 },
  desktop: { width: 1280, height: 840 },
} as const;

/** Fills up with complaints while `page` is used: there should be none. */
export function watch(page: Page, origin: string): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => {
    // A page may have any status; Chromium says so of the page itself.
    if (!message.text().startsWith('Failed to load resource')) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`)) complaints.push(`Asked for ${request.url()}`);
  });
  return complaints;
}
