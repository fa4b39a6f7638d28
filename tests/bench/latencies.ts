/** How long things took, in buckets of ten microseconds: constant memory for millions of them. */
export class Latencies {
  readonly #buckets = new Uint32Array(1_000_000);
  #count = 0;
  #max = 0;

  add(micros: number): void {
    this.#count++;
    if (micros > this.#max) this.#max = micros;
    this.#buckets[Math.min(Math.floor(micros / 10), this.#buckets.length - 1)]!++;
  }

  /** Milliseconds within which this part of them was done. */
  at(part: number): number {
    if (this.#count === 0) return NaN;
    let left = Math.ceil(this.#count * part);
    let bucket = -1;
    while (left > 0) left -= this.#buckets[++bucket]!;
    return (bucket + 0.5) / 100;
  }

  get max(): number {
    return this.#count === 0 ? NaN : this.#max / 1000;
  }
}
