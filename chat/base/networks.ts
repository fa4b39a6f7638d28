/**
 * IP addresses and networks: their canonical forms, and which network contains an address.
 *
 * It resolves no names, and knows neither proxies nor bans. A client with an IPv6 address has its whole
 * /64, so no network here is smaller.
 */
import { isIP } from "node:net";

/** Bits of an IPv4 address, and of an IPv6 address that tell clients apart. */
const V4_BITS = 32, V6_BITS = 64;

/** A network with its first address, such as `10.0.0.0/8`. */
export interface Network {
  /** Its one written form: an IPv4 address alone, else with the number of bits. */
  readonly text: string;
  readonly version: 4 | 6;
  /** The number of bits that all of its addresses have in common: at most 32, or 64 for IPv6. */
  readonly bits: number;
}

/** Returns an address in its canonical form, without brackets, port or zone; `undefined` if malformed. */
export function addressFrom(text: string): string | undefined {
  const [, v6, v4] = /^\s*(?:\[([^\]]*)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+)(?::\d+)?)\s*$/.exec(text) ??
    [];
  const plain = (v6 ?? v4 ?? text.trim()).replace(/%.*$/, "");
  if (isIP(plain) === 4) return plain;
  if (isIP(plain) !== 6) return undefined;
  const address = new URL(`http://[${plain}]/`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([\da-f]{1,4}):([\da-f]{1,4})$/.exec(address) ?? [];
  if (high === undefined) return address;
  const number = parseInt(high, 16) * 0x10000 + parseInt(low!, 16);
  return [24, 16, 8, 0].map((shift) => number >>> shift & 0xff).join(".");
}

/** Returns the key of limits for an address. A client with an IPv6 address has its whole /64. */
export function limitKey(address: string): string {
  if (!address.includes(":")) return address;
  return `${groupsOf(address).slice(0, 4).join(":")}::/64`;
}

/** Returns the network in a text such as `10.0.0.0/8`, `::1` or `192.0.2.1`; `undefined` if malformed. */
export function networkFrom(text: string): Network | undefined {
  const [, typed = "", digits] = /^\s*([^/\s]{1,64})(?:\/(\d{1,3}))?\s*$/.exec(text) ?? [];
  const address = addressFrom(typed);
  if (address === undefined) return undefined;
  const version = isIP(address) === 4 ? 4 : 6;
  const most = version === 4 ? V4_BITS : V6_BITS;
  const bits = digits === undefined ? most : Number(digits);
  if (bits > (version === 4 ? V4_BITS : 128)) return undefined;
  return networkOf(numberOf(address, version), version, Math.min(bits, most));
}

/**
 * Returns the network of so many bits that contains an address. `address` is an IPv4 address, or an IPv6
 * network as {@linkcode limitKey} returns it.
 */
export function networkAround(address: string, bits: number): Network {
  const version = address.includes(":") ? 6 : 4;
  return networkOf(numberOf(address.replace(/\/64$/, ""), version), version, bits);
}

/** Returns the version of a client's address as {@linkcode limitKey} returns it. */
export function versionOf(address: string): 4 | 6 {
  return address.includes(":") ? 6 : 4;
}

function networkOf(number: bigint, version: 4 | 6, bits: number): Network {
  const most = version === 4 ? V4_BITS : V6_BITS;
  const shift = BigInt(most - bits);
  const first = number >> shift << shift;
  if (version === 4) {
    const address = [24n, 16n, 8n, 0n].map((each) => first >> each & 0xffn).join(".");
    return { text: bits === most ? address : `${address}/${bits}`, version, bits };
  }
  const groups = [48n, 32n, 16n, 0n].map((each) => (first >> each & 0xffffn).toString(16));
  return { text: `${groups.join(":")}::/${bits}`, version, bits };
}

/** Returns the bits of an address as a number; of an IPv6 address the first 64. */
function numberOf(address: string, version: 4 | 6): bigint {
  if (version === 4) {
    return address.split(".").reduce((number, byte) => number << 8n | BigInt(byte), 0n);
  }
  return groupsOf(address).slice(0, 4)
    .reduce((number, group) => number << 16n | BigInt(parseInt(group, 16)), 0n);
}

/** Returns the eight groups of a canonical IPv6 address. */
function groupsOf(address: string): string[] {
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const last = tail === undefined || tail === "" ? [] : tail.split(":");
  while (groups.length + last.length < 8) groups.push("0");
  return [...groups, ...last];
}
