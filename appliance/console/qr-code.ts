/** A QR code in half-block characters: two modules a character, as a text console can show them. */

/** ISO 18004 asks for a quiet zone of four; phones are content with two, and 25 rows are few. */
const quietModules = 2;

/** Lines of `█`, `▀`, `▄` and spaces; dark modules are drawn, so the terminal must show black on white. */
export async function qrCodeLines(text: string): Promise<readonly string[]> {
  const { encode } = await import('uqr');
  const { data, size } = encode(text, { ecc: 'L', border: quietModules });
  const isDark = (row: number, column: number): boolean => data[row]?.[column] ?? false;
  const glyphs = [' ', '▄', '▀', '█'] as const;
  return Array.from({ length: Math.ceil(size / 2) }, (_, index) =>
    Array.from({ length: size }, (__, column) => {
      const top = isDark(2 * index, column) ? 2 : 0;
      const bottom = isDark(2 * index + 1, column) ? 1 : 0;
      return glyphs[top + bottom] ?? ' ';
    }).join(''),
  );
}
