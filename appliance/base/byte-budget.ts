/**
 * One budget of memory shared by everything that buffers bytes from outside, so that many peers together
 * cannot take more than the machine has. Counts only; allocates nothing.
 */
export class ByteBudget {
  readonly #totalBytes: number;
  #usedBytes = 0;

  /** @throws RangeError when `totalBytes` is not a positive integer */
  constructor(totalBytes: number) {
    if (!Number.isSafeInteger(totalBytes) || totalBytes <= 0) {
      throw new RangeError(`A byte budget must be a positive integer, not ${totalBytes}`);
    }
    this.#totalBytes = totalBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Opens an empty account on this budget; close it in a `finally`, or with `using`. */
  account(): ByteAccount {
    let heldBytes = 0;
    const hold = (bytes: number): boolean => {
      if (this.#usedBytes + bytes > this.#totalBytes) return false;
      this.#usedBytes += bytes;
      heldBytes += bytes;
      return true;
    };
    const release = (): void => {
      this.#usedBytes -= heldBytes;
      heldBytes = 0;
    };
    return { hold, release, [Symbol.dispose]: release };
  }
}

/** What one message or request holds of a budget. */
export interface ByteAccount extends Disposable {
  /** Takes `bytes` more; false, and nothing is taken, when the budget does not have them. */
  hold(bytes: number): boolean;
  /** Gives everything back. The account may be used again. */
  release(): void;
}
