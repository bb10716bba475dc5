/** Keys that hold for a while; the oldest go when there are too many. */
export class RecentSet {
  readonly #maxKeys: number;
  readonly #forMs: number;
  readonly #nowMs: () => number;
  /** Key → until when, oldest first. */
  readonly #keys = new Map<string, number>();

  constructor(options: { readonly maxKeys: number; readonly forMs: number; readonly nowMs: () => number }) {
    this.#maxKeys = options.maxKeys;
    this.#forMs = options.forMs;
    this.#nowMs = options.nowMs;
  }

  add(key: string): void {
    this.#keys.delete(key);
    this.#keys.set(key, this.#nowMs() + this.#forMs);
    const [oldest] = this.#keys.keys();
    if (this.#keys.size > this.#maxKeys && oldest !== undefined) this.#keys.delete(oldest);
  }

  has(key: string): boolean {
    const untilMs = this.#keys.get(key);
    if (untilMs === undefined) return false;
    if (untilMs > this.#nowMs()) return true;
    this.#keys.delete(key);
    return false;
  }
}
