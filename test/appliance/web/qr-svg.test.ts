import { encode } from 'uqr';
import { describe, expect, test } from 'vitest';
import { qrOutline } from '../../../appliance/web/qr-svg.ts';

/** Fills the path's rectangles as a browser would. */
function fill({ size, path }: { size: number; path: string }): boolean[][] {
  const modules = Array.from({ length: size }, () => Array<boolean>(size).fill(false));
  for (const [, x, y, width, back] of path.matchAll(/M(\d+) (\d+)h(\d+)v1h-(\d+)z/g)) {
    expect(width).toBe(back);
    modules[Number(y)]?.fill(true, Number(x), Number(x) + Number(width));
  }
  return modules;
}

describe('qrOutline', () => {
  test.each(['dcaccount:a.de', `dclogin:${'x'.repeat(200)}`])('draws every dark module of %.12s', (text) => {
    const outline = qrOutline(text);
    expect(outline.path).toMatch(/^(?:M\d+ \d+h\d+v1h-\d+z)+$/);
    expect(fill(outline)).toEqual(encode(text, { ecc: 'M', border: 4, maskPattern: 0 }).data);
  });

  test('leaves a quiet zone of four modules', () => {
    const { size, path } = qrOutline('dcaccount:chat.example.org');
    for (const [row, modules] of fill({ size, path }).entries()) {
      const isMargin = row < 4 || row >= size - 4;
      expect(modules.slice(0, 4).concat(modules.slice(-4), isMargin ? modules : [])).not.toContain(true);
    }
  });
});
