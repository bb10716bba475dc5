/** `node test/screenshots.ts`: takes the pictures of the web pages that README shows. Needs Chromium. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import { loadTestPages, startWeb } from './appliance/web/web-server.ts';
import { startBrowser } from './oracles/browser.ts';

const docs = join(import.meta.dirname, '../docs');
const pictures = [
  { name: 'web-phone-light', width: 390, height: 900, scale: 1.25, colorScheme: 'light' },
  { name: 'web-desktop-dark', width: 980, height: 640, scale: 1, colorScheme: 'dark' },
] as const;

/** The same picture, packed as well as deflate can; Chromium packs in a hurry. PNG (ISO/IEC 15948) §5. */
function repack(png: Buffer): Buffer {
  const before: Buffer[] = [png.subarray(0, 8)];
  const pixels: Buffer[] = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    const type = png.toString('latin1', at + 4, at + 8);
    const end = at + 12 + png.readUInt32BE(at);
    if (type === 'IDAT') pixels.push(png.subarray(at + 8, end - 4));
    else if (type !== 'IEND') before.push(png.subarray(at, end));
  }
  const chunk = (type: string, body: Uint8Array): Buffer => {
    const made = Buffer.alloc(12 + body.length);
    made.writeUInt32BE(body.length, 0);
    made.write(type, 4, 'latin1');
    made.set(body, 8);
    made.writeUInt32BE(crc32(made.subarray(4, -4)), made.length - 4);
    return made;
  };
  const packed = deflateSync(inflateSync(Buffer.concat(pixels)), { level: 9, memLevel: 9 });
  return Buffer.concat([...before, chunk('IDAT', packed), chunk('IEND', new Uint8Array())]);
}

await using web = await startWeb(await loadTestPages(), { document: { domain: 'chat.example.org' } });
const browser = await startBrowser();
try {
  for (const { name, width, height, scale, colorScheme } of pictures) {
    await using context = await browser.newContext({
      viewport: { width, height },
      colorScheme,
      deviceScaleFactor: scale,
      locale: 'en',
    });
    const page = await context.newPage();
    await page.goto(web.origin);
    await writeFile(join(docs, `${name}.png`), repack(await page.screenshot()));
  }
} finally {
  await browser.close();
}
