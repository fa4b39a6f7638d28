/**
 * The limits that KV sets to one commit, the size of a commit as KV counts it, and the errors by which
 * KV refuses a commit as invalid.
 *
 * It does not commit, and does not know what a key means.
 */

/** Bytes of the keys that one commit writes with a value. A key counts once for each write. */
export const MAX_KEY_BYTES = 80 * 1024;

/** Bytes of one commit: all keys, those of checks included, and each value with its key once more. */
export const MAX_COMMIT_BYTES = 800 * 1024;

/** Mutations in one commit. */
export const MAX_MUTATIONS = 1000;

/** Keys in one `getMany`. */
export const MAX_GETMANY_KEYS = 10;

/** How much of KV's limits some mutations and checks use. */
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

/** Returns the bytes of a key in KV's encoding (FoundationDB's tuples), without a versionstamp part. */
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

/** Returns the bytes of UTF-8. NUL takes two bytes, a lone surrogate the three of U+FFFD. */
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
  return bytes.reduce((count, byte) => byte === 0 ? count + 1 : count, 0);
}

function bigintBytes(value: bigint): number {
  if (value === 0n) return 1;
  const magnitude = value < 0n ? -value : value;
  const bytes = Math.ceil(magnitude.toString(16).length / 2);
  return bytes <= 8 ? 1 + bytes : 2 + bytes;
}

/** Returns an upper bound of the bytes of a value of plain data in V8's serialisation. */
export function valueBytes(value: unknown): number {
  return value instanceof Deno.KvU64 ? 8 : 2 + serialisedBytes(value);
}

function serialisedBytes(value: unknown): number {
  // A tag, the length in at most five bytes, and one byte that aligns two-byte characters.
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
 * The messages of errors for a commit that KV will never accept. The class of the error does not tell:
 * a busy or full SQLite file also throws a `TypeError`, and KV Connect a plain `Error` for both.
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
    // KV Connect: the server checks the same again, and accepts fewer checks.
    "\\(status=(400|413|422)\\b",
  ].join("|"),
);

/**
 * Returns whether KV refused a commit as invalid, so that another try is useless. Any other error may
 * be an outage. Nothing of a refused commit was written, unless a sum found a value that is not a
 * number: then KV keeps the mutations before that sum.
 */
export function isRefusal(error: unknown): boolean {
  return error instanceof Error && REFUSAL.test(error.message);
}
