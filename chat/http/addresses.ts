/**
 * A client's address: that of the TCP peer, or the one that a trusted proxy reports.
 *
 * It does not resolve names, and limits nothing.
 */
import { BlockList, isIP } from "node:net";
import { addressFrom, limitKey } from "../base/networks.ts";

/** Where a request comes from, and which URL its client asked for. */
export interface RequestSource {
  /** The key of limits: an IPv4 address, or the /64 network of an IPv6 address. */
  readonly address: string | undefined;
  /** Whether it is a loopback address, which many clients may share. */
  readonly isLoopback: boolean;
  /** Whether it must be that of a proxy which the operator did not declare as trusted. */
  readonly isUntrustedProxy: boolean;
  /** Whether it is in a private network or on this machine, without a proxy between. */
  readonly isLocal: boolean;
  /** `https:` or `http:`, and the host and port, as the client sees them. */
  readonly protocol: string;
  readonly host: string;
}

/** Networks that are not on the internet: loopback, private, link-local, shared (RFC 6598). */
const PRIVATE = [
  "127.0.0.0/8",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "169.254.0.0/16",
  "100.64.0.0/10",
  "::1/128",
  "fc00::/7",
  "fe80::/10",
];

const LOOPBACK = ["127.0.0.0/8", "::1/128"];

/** The longest chain of trusted proxies. */
const MAX_HOPS = 16;

/** Reads client addresses from requests. */
export class Addresses {
  readonly #trusted: BlockList | undefined;
  readonly #loopback = blockListOf(LOOPBACK);
  readonly #private = blockListOf(PRIVATE);

  /**
   * `trusted` are the proxies whose headers are trusted: addresses, networks such as `10.0.0.0/8`, or
   * `private` for every network that is not on the internet.
   *
   * @throws {RangeError} if an entry is none of these.
   */
  constructor(trusted: readonly string[] = []) {
    const networks = trusted.flatMap((each) => each === "private" ? PRIVATE : [each]);
    this.#trusted = networks.length === 0 ? undefined : blockListOf(networks);
  }

  /** Returns the origin of a request; `hostname` is the address of the TCP peer, if known. */
  of({ headers, url }: Request, hostname: string | undefined): RequestSource {
    const { protocol, host } = new URL(url);
    const peer = addressFrom(hostname ?? "");
    const isPrivate = peer !== undefined && contains(this.#private, peer);
    const isLoopback = peer !== undefined && contains(this.#loopback, peer);
    const isDirect = !isForwarded(headers);
    const isLocal = isPrivate && isDirect && !headers.has("x-forwarded-host");
    if (peer === undefined || !contains(this.#trusted, peer)) {
      // The headers change nothing here: every client can send them.
      return {
        address: peer && limitKey(peer),
        isLoopback,
        isUntrustedProxy: isPrivate && !isDirect,
        isLocal,
        protocol,
        host,
      };
    }
    const address = this.#behind(peer, headers);
    return {
      address: limitKey(address),
      isLoopback: address === peer && isDirect && isLoopback,
      isUntrustedProxy: false,
      isLocal,
      protocol: forwardedProtocol(headers) ?? protocol,
      host: forwardedHost(headers) ?? host,
    };
  }

  /** Returns the rightmost address in the chain of proxies that is not trusted. */
  #behind(peer: string, headers: Headers): string {
    const chains = [
      headers.get("x-forwarded-for")?.split(","),
      headers.get("forwarded")?.split(",").map((each) => parameter(each, "for") ?? ""),
    ].filter((chain) => chain !== undefined);
    const [first, second = first] = chains.map((chain) => this.#untrusted(peer, chain));
    // A proxy sets one of the two headers and passes the other on as the client sent it. If both
    // agree, it does not matter which one that is. If not, neither is trusted.
    return first !== undefined && first === second ? first : peer;
  }

  #untrusted(peer: string, chain: string[]): string {
    let address = peer;
    for (const each of chain.slice(-MAX_HOPS).reverse()) {
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
  // Some proxies report the scheme of the WebSocket URL.
  if (/^(https|wss)$/i.test(said ?? "")) return "https:";
  return /^(http|ws)$/i.test(said ?? "") ? "http:" : undefined;
}

function firstOf(list: string | null): string | undefined {
  return list?.split(",", 1)[0]?.trim();
}

/** Returns a parameter of an element of `Forwarded` (RFC 7239, section 4). */
function parameter(element: string, name: string): string | undefined {
  for (const each of element.split(";")) {
    const [, key, quoted, token] = /^\s*(\w+)=(?:"([^"]*)"|([^\s"]*))\s*$/.exec(each) ?? [];
    if (key?.toLowerCase() === name) return quoted ?? token;
  }
  return undefined;
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
      throw new RangeError(
        `"${network}" is neither an IP address nor a network such as 10.0.0.0/8`,
      );
    }
    list.addSubnet(address, prefix, version === 4 ? "ipv4" : "ipv6");
  }
  return list;
}
