/**
 * Where somebody comes from: the address at the other end, or what a proxy says that is trusted.
 *
 * A helper at the door. It does not look names up, and does not know what is done with an address.
 */
import { BlockList, isIP } from "node:net";

/** Where a request comes from, and what it was asked for as. */
export interface Origin {
  /** What is counted as one: an IPv4 address, or the first half of an IPv6 one (a /64). */
  readonly address: string | undefined;
  /** It is this machine's own: many may share it. */
  readonly shared: boolean;
  /** It is that of what must be a proxy, of which nobody has said that it is to be believed. */
  readonly unknownProxy: boolean;
  /** It is in a private network or this machine's own, and no proxy is between. */
  readonly isLocal: boolean;
  /** `https:` or `http:`, and the host and port, as whoever asks sees them. */
  readonly protocol: string;
  readonly host: string;
}

/** Networks in which nobody is on the internet: loopback, private, link-local, shared (RFC 6598). */
const PRIVATE = [
  ...["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"],
  ...["100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10"],
];

const LOOPBACK = ["127.0.0.0/8", "::1/128"];

/** Most proxies in a row that are believed. */
const MOST_HOPS = 16;

/** Reads from requests where they come from. */
export class Addresses {
  readonly #trusted: BlockList | undefined;
  readonly #loopback = blockListOf(LOOPBACK);
  readonly #private = blockListOf(PRIVATE);

  /**
   * `trusted` are the proxies that are believed: addresses, networks as `10.0.0.0/8`, or `private`
   * for all that is not on the internet. None: no proxy is.
   *
   * @throws {RangeError} when something is neither.
   */
  constructor(trusted: readonly string[] = []) {
    const networks = trusted.flatMap((each) => each === "private" ? PRIVATE : [each]);
    this.#trusted = networks.length === 0 ? undefined : blockListOf(networks);
  }

  /** Where a request comes from; `hostname` is the address at the other end, where that is known. */
  of({ headers, url }: Request, hostname: string | undefined): Origin {
    const { protocol, host } = new URL(url);
    const subscriber = addressFrom(hostname ?? "");
    const isPrivate = subscriber !== undefined && contains(this.#private, subscriber);
    const isLoopback = subscriber !== undefined && contains(this.#loopback, subscriber);
    const isDirect = !isForwarded(headers);
    const isLocal = isPrivate && isDirect && !headers.has("x-forwarded-host");
    if (subscriber === undefined || !contains(this.#trusted, subscriber)) {
      const unknownProxy = isPrivate && !isDirect;
      // What a header says changes nothing here: every client can write one.
      return {
        address: subscriber && countedAs(subscriber),
        shared: isLoopback,
        ...{ unknownProxy, isLocal, protocol, host },
      };
    }
    const address = this.#behind(subscriber, headers);
    return {
      address: countedAs(address),
      shared: address === subscriber && isDirect && isLoopback,
      unknownProxy: false,
      isLocal,
      protocol: forwardedProtocol(headers) ?? protocol,
      host: forwardedHost(headers) ?? host,
    };
  }

  /** The last address in the row of proxies that is none of a trusted one. */
  #behind(subscriber: string, headers: Headers): string {
    const rows = [
      headers.get("x-forwarded-for")?.split(","),
      headers.get("forwarded")?.split(",").map((each) => parameter(each, "for") ?? ""),
    ].filter((row) => row !== undefined);
    const [first, second = first] = rows.map((row) => this.#untrusted(subscriber, row));
    // A proxy writes one of the two, and lets the other pass as whoever asks has written it. If
    // they say the same, it does not matter which is which; if not, neither is believed.
    return first !== undefined && first === second ? first : subscriber;
  }

  #untrusted(subscriber: string, row: string[]): string {
    let address = subscriber;
    for (const each of row.slice(-MOST_HOPS).reverse()) {
      if (!contains(this.#trusted, address)) break;
      const next = addressFrom(each);
      if (next === undefined) break;
      address = next;
    }
    return address;
  }
}

function isForwarded(headers: Headers): boolean {
  return headers.has("x-forwarded-for") || headers.has("forwarded");
}

function forwardedHost(headers: Headers): string | undefined {
  const said = firstOf(headers.get("x-forwarded-host")) ??
    parameter(firstOf(headers.get("forwarded")) ?? "", "host");
  return said !== undefined && /^[\w.:[\]-]{1,255}$/.test(said) ? said.toLowerCase() : undefined;
}

function forwardedProtocol(headers: Headers): string | undefined {
  const said = firstOf(headers.get("x-forwarded-proto")) ??
    parameter(firstOf(headers.get("forwarded")) ?? "", "proto");
  // Some say what they were asked for with the upgrade.
  if (/^(https|wss)$/i.test(said ?? "")) return "https:";
  return /^(http|ws)$/i.test(said ?? "") ? "http:" : undefined;
}

function firstOf(list: string | null): string | undefined {
  return list?.split(",", 1)[0]?.trim();
}

/** A parameter of an element of `Forwarded` (RFC 7239, section 4). */
function parameter(element: string, name: string): string | undefined {
  for (const each of element.split(";")) {
    const [, key, quoted, token] = /^\s*(\w+)=(?:"([^"]*)"|([^\s"]*))\s*$/.exec(each) ?? [];
    if (key?.toLowerCase() === name) return quoted ?? token;
  }
  return undefined;
}

/** An address without brackets, port or zone, in one spelling; `undefined` if it is none. */
function addressFrom(text: string): string | undefined {
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

/** Whoever has an IPv6 address has all that begin with the same 64 bits. */
function countedAs(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", memtable] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const last = memtable === undefined || memtable === "" ? [] : memtable.split(":");
  while (groups.length + last.length < 8) groups.push("0");
  return `${[...groups, ...last].slice(0, 4).join(":")}::/64`;
}

function contains(list: BlockList | undefined, address: string): boolean {
  return list?.check(address, isIP(address) === 4 ? "ipv4" : "ipv6") ?? false;
}

function blockListOf(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [, address = "", bits] = /^([^/]+?)(?:\/(\d{1,3}))?$/.exec(network) ?? [];
    const version = isIP(address);
    const most = version === 4 ? 32 : 128;
    const prefix = bits === undefined ? most : Number(bits);
    if (version === 0 || prefix > most) {
      throw new RangeError(`"${network}" is no address, and no network like 10.0.0.0/8`);
    }
    list.addSubnet(address, prefix, version === 4 ? "ipv4" : "ipv6");
  }
  return list;
}
