/** A QR code (ISO/IEC 18004) as the outline of its dark modules, for an SVG path. */
import { encode } from 'uqr';

/** ISO/IEC 18004 §5.3.8: four modules of quiet zone; on paper there may be anything beside it. */
const quietModules = 4;

export interface QrOutline {
  /** Width and height of the viewBox in modules, quiet zone included. */
  readonly size: number;
  /** The `d` of a path. */
  readonly path: string;
}

/**
 * Of the eight masks always the same: to look for the one with the fewest blots (ISO/IEC 18004 §7.8.3) takes six
 * times as long as everything else, each visitor of a self-signed relay gets a code of their own, and scanners
 * read any.
 */
const maskPattern = 0;

/** Medium error correction: a print on a fridge gets stains. */
export function qrOutline(text: string): QrOutline {
  const { data, size } = encode(text, { ecc: 'M', border: quietModules, maskPattern });
  const strokes: string[] = [];
  for (const [row, modules] of data.entries()) {
    for (let column = 0; column < size; column += 1) {
      if (modules[column] !== true) continue;
      let end = column;
      while (modules[end] === true) end += 1;
      strokes.push(`M${column} ${row}h${end - column}v1h${column - end}z`);
      column = end;
    }
  }
  return { size, path: strokes.join('') };
}
