/**
 * The limits that KV sets to one commit, the size of a commit as KV counts it, and the errors with
 * which KV refuses one.
 *
 * A helper below the way of a message. It does not commit and does not know what a key means.
 */

/** Bytes of the keys in one commit that carry a value. A key counts as often as it is written. */
export const MAX_KEY_BYTES = 80 * 1024;

/** Bytes of one commit: all keys, those of checks too, and with each value its key once more. */
export const MAX_COMMIT_BYTES = 800 * 1024;

/** Mutations in one commit. */
export const MAX_MUTATIONS = 1000;

/** How much of KV's limits something takes. */
export interface CommitSize {
  mutations: number;
  /** Counts towards {@linkcode MAX_KEY_BYTES}. Exact. */
  keyBytes: number;
  /** Counts towards {@linkcode MAX_COMMIT_BYTES}. Exact for keys, an upper bound for values. */
  bytes: number;
}

/** Adds a mutation to a size. */
export function addMutation(size: CommitSize, mutation: Deno.KvMutation): void {
  const key = keyBytes(mutation.key);
  size.mutations++;
  size.bytes += key;
  if (mutation.type === "delete") return;
  size.bytes += key + valueBytes(mutation.value);
  size.keyBytes += key;
}

/** Bytes of a key in KV's encoding (FoundationDB's tuples), without a versionstamp at its end. */
export function keyBytes(key: Deno.KvKey): number {
  let bytes = 0;
  for (const part of key) {
    if (typeof part === "string") bytes += 2 + textBytes(part);
    else if (typeof part === "number") bytes += 9;
    else if (typeof part === "bigint") bytes += bigintBytes(part);
    else if (typeof part === "boolean") bytes += 1;
    else if (part instanceof Uint8Array) bytes += 2 + part.length + zeros(part);
  }
  return bytes;
}

/** Bytes of UTF-8. A NUL is written as two bytes, a lone surrogate as the three of U+FFFD. */
function textBytes(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === 0) bytes++;
    else if (unit < 0x80) continue;
    else if (unit < 0x800) bytes++;
    else {
      bytes += 2;
      // A pair takes four bytes, two more than it has code units.
      const isHigh = unit >= 0xd800 && unit < 0xdc00;
      if (isHigh && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) i++;
    }
  }
  return bytes;
}

function zeros(bytes: Uint8Array): number {
  return bytes.reduce((many, byte) => byte === 0 ? many + 1 : many, 0);
}

function bigintBytes(value: bigint): number {
  if (value === 0n) return 1;
  const magnitude = value < 0n ? -value : value;
  const bytes = Math.ceil(magnitude.toString(16).length / 2);
  return bytes <= 8 ? 1 + bytes : 2 + bytes;
}

/** An upper bound of the bytes of a value as V8 serialises it, for values of plain data. */
export function valueBytes(value: unknown): number {
  return value instanceof Deno.KvU64 ? 8 : 2 + serialisedBytes(value);
}

function serialisedBytes(value: unknown): number {
  // A tag, the length in at most five bytes, and one that puts two-byte characters at an even place.
  if (typeof value === "string") return 7 + 2 * value.length;
  if (typeof value === "bigint") return 16 + bigintBytes(value);
  if (typeof value !== "object" || value === null) return 9;
  if (ArrayBuffer.isView(value)) return 32 + value.byteLength;
  let bytes = 16;
  if (Array.isArray(value)) { for (const each of value) bytes += serialisedBytes(each); }
  else {
    for (const name in value) {
      bytes += serialisedBytes(name) + serialisedBytes(value[name as keyof typeof value]);
    }
  }
  return bytes;
}

/**
 * What KV says of a commit that it will never take. The class of the error says nothing: a SQLite
 * file that is busy or full gives a `TypeError` too, and KV Connect gives a plain `Error` for both.
 */
const REFUSAL = new RegExp(
  [
    "(Key|Value|mutation size|key size|expireIn is) too large",
    "Too many (checks|mutations)",
    "key cannot be empty",
    "^Invalid (check|mutation)",
    "could not be cloned",
    "^Failed to perform '\\w+' mutation",
    "exceed its range limit",
    // KV Connect: what the server says, which checks the same again, and fewer checks.
    "\\(status=(400|413|422)\\b",
  ].join("|"),
);

/**
 * Whether KV refused a commit as invalid: to try it again is no use. Everything else may be an outage.
 * Nothing of it was written, unless a sum found no number: KV keeps the mutations before that one.
 */
export function isRefusal(error: unknown): boolean {
  return error instanceof Error && REFUSAL.test(error.message);
}
