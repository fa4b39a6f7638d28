/** A histogram of latencies, in buckets of ten microseconds: its memory is constant. */
export class Latencies {
  readonly #buckets = new Uint32Array(1_000_000);
  #count = 0;
  #maxMicros = 0;

  add(micros: number): void {
    this.#count++;
    if (micros > this.#maxMicros) this.#maxMicros = micros;
    this.#buckets[Math.min(Math.floor(micros / 10), this.#buckets.length - 1)]!++;
  }

  /** Returns the latency in milliseconds below which this part (0 to 1) of all latencies is. */
  quantileMs(part: number): number {
    if (this.#count === 0) return NaN;
    let left = Math.ceil(this.#count * part);
    let bucket = -1;
    while (left > 0) left -= this.#buckets[++bucket]!;
    return (bucket + 0.5) / 100;
  }

  get maxMs(): number {
    return this.#count === 0 ? NaN : this.#maxMicros / 1000;
  }
}
