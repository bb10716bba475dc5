/**
 * The range coder of LZMA: binary decisions, each with a probability that adapts to what came before.
 * Source: Igor Pavlov's lzma-specification.txt, turned round from decoding. Pure.
 */

/** Probabilities count in 1/2048 that a bit is 0; they begin at one half and move by 1/32 of the rest. */
const probabilityBits = 11;
const moveBits = 5;
const half = 1 << (probabilityBits - 1);

/** A set of probabilities, as they are before anything was encoded. */
export function freshProbabilities(count: number): Uint16Array {
  return new Uint16Array(count).fill(half);
}

export class RangeEncoder {
  readonly #out: number[] = [];
  #low = 0;
  #range = 0xffffffff;
  #cache = 0;
  #cached = 1;

  encodeBit(probabilities: Uint16Array, index: number, bit: 0 | 1): void {
    const probability = probabilities[index];
    if (probability === undefined) throw new RangeError(`There is no probability ${index}`);
    const bound = (this.#range >>> probabilityBits) * probability;
    if (bit === 0) {
      this.#range = bound;
      probabilities[index] = probability + (((1 << probabilityBits) - probability) >> moveBits);
    } else {
      this.#low += bound;
      this.#range -= bound;
      probabilities[index] = probability - (probability >> moveBits);
    }
    while (this.#range < 2 ** 24) {
      this.#range = (this.#range << 8) >>> 0;
      this.#shiftLow();
    }
  }

  /** The highest bit first; each has its own probability below the bits before it. */
  encodeTree(probabilities: Uint16Array, bits: number, value: number): void {
    let node = 1;
    for (let shift = bits - 1; shift >= 0; shift--) {
      const bit = (value >>> shift) & 1 ? 1 : 0;
      this.encodeBit(probabilities, node, bit);
      node = node * 2 + bit;
    }
  }

  /** All bytes; nothing can be encoded after this. */
  finish(): Uint8Array {
    for (let index = 0; index < 5; index++) this.#shiftLow();
    return Uint8Array.from(this.#out);
  }

  /** A carry may run through all bytes that are still held back: the cached one and the 0xff after it. */
  #shiftLow(): void {
    if (this.#low < 0xff000000 || this.#low >= 2 ** 32) {
      const carry = this.#low >= 2 ** 32 ? 1 : 0;
      for (let byte = this.#cache; this.#cached > 0; this.#cached--, byte = 0xff) {
        this.#out.push((byte + carry) & 0xff);
      }
      this.#cache = Math.floor(this.#low / 2 ** 24) & 0xff;
    }
    this.#cached++;
    this.#low = (this.#low % 2 ** 24) * 256;
  }
}
