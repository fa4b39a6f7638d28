/**
 * Which pages may connect (by their origin), and which clients (by the access token of a private chat).
 *
 * It knows neither nicknames nor passwords: access is to the server, not to a nickname.
 */
import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";

/** Who may connect. */
export interface AccessSettings {
  /**
   * Additional allowed origins, besides the server's own: such as `https://chat.example`, `null` for
   * pages without an origin (files, sandboxes), or `*` for all.
   */
  readonly origins?: readonly string[];
  /**
   * Host names of this server, besides `localhost`, which pages in its own network may use; `any`:
   * every name. Any site can point its own name to a private address for a moment (DNS rebinding), so
   * an unknown name is not trusted there. Default: none.
   */
  readonly hosts?: readonly string[] | "any";
  /** The access token that clients must send: 8 to 256 printable ASCII characters. Default: none. */
  readonly token?: string;
}

/** The URL that a request was sent to, and whether it came from the server's own network. */
export interface OwnSite {
  /** `https:` or `http:`. */
  readonly protocol: string;
  readonly host: string;
  readonly isLocal: boolean;
}

/** The prefix of a subprotocol that carries an access token; base64url without padding follows. */
export const TOKEN_PROTOCOL = "chat.token.";

/** Printable ASCII without spaces: what a header can carry. */
const TOKEN_PATTERN = /^[\x21-\x7e]{8,256}$/;

/** Checks origins and access tokens. */
export class Access {
  readonly #origins: ReadonlySet<string>;
  /** `undefined`: every name is allowed. */
  readonly #hosts: ReadonlySet<string> | undefined;
  readonly #tokenHash: Uint8Array | undefined;

  /** @throws {RangeError} if a setting is malformed. The message does not contain the token. */
  constructor({ origins = [], hosts = [], token }: AccessSettings = {}) {
    this.#origins = new Set(origins.map(originFrom));
    this.#hosts = hosts === "any" ? undefined : new Set(hosts.map((each) => each.toLowerCase()));
    if (token !== undefined && !TOKEN_PATTERN.test(token)) {
      throw new RangeError("the token must be 8–256 printable ASCII characters without spaces");
    }
    this.#tokenHash = token === undefined ? undefined : hash(token);
  }

  /**
   * Returns whether a page of an origin may connect; `null` is a client that is not a page. Without TLS
   * the server does not know whether a proxy has TLS, so there `https` counts as the same site, too.
   */
  allowsOrigin(origin: string | null, own: OwnSite): boolean {
    if (origin === null || this.#origins.has("*")) return true;
    if (this.#origins.has(origin.toLowerCase())) return true;
    return isOwnSite(origin, own) && (!own.isLocal || this.#isOwnName(origin));
  }

  /** Returns whether an origin's host is known to be this server's. */
  #isOwnName(origin: string): boolean {
    const hostname = URL.parse(origin)?.hostname ?? "";
    if (this.#hosts === undefined || this.#hosts.has(hostname)) return true;
    // An IP address needs no DNS, so a page at one is this server's.
    if (hostname.startsWith("[") || isIP(hostname) !== 0) return true;
    return hostname === "localhost" || hostname.endsWith(".localhost");
  }

  /** Checks the access token in the headers of a request; without a token every request is `ok`. */
  checkToken(headers: Headers): "ok" | "missing" | "wrong" {
    if (this.#tokenHash === undefined) return "ok";
    const token = bearerToken(headers) ?? offeredToken(headers);
    if (token === undefined) return "missing";
    // The hashes have one length, so the time of the comparison reveals nothing about the token.
    return timingSafeEqual(hash(token), this.#tokenHash) ? "ok" : "wrong";
  }
}

/** Returns whether a page's origin is the site that it connects to. */
export function isOwnSite(origin: string, own: OwnSite): boolean {
  const url = URL.parse(origin);
  const ownUrl = URL.parse(`${url?.protocol}//${own.host}`);
  if (url === null || ownUrl === null || url.host !== ownUrl.host) return false;
  return url.protocol === "https:" || (url.protocol === "http:" && own.protocol === "http:");
}

/** Returns the token in an `Authorization` header (RFC 6750, section 2.1). */
function bearerToken(headers: Headers): string | undefined {
  return /^bearer +(\S+)\s*$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/** Returns the token among the subprotocols: a browser cannot set another header of a WebSocket. */
function offeredToken(headers: Headers): string | undefined {
  const protocols = headers.get("sec-websocket-protocol")?.split(",") ?? [];
  const found = protocols.map((each) => each.trim()).find((each) =>
    each.startsWith(TOKEN_PROTOCOL)
  );
  return found && Buffer.from(found.slice(TOKEN_PROTOCOL.length), "base64url").toString("latin1");
}

function hash(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

/** Returns an origin in the form in which browsers send it. */
function originFrom(text: string): string {
  const origin = text.toLowerCase().replace(/\/$/, "");
  if (origin === "*" || origin === "null") return origin;
  if (!/^[a-z][a-z\d+.-]*:\/\/[^\s/?#@]+$/.test(origin) || URL.parse(origin) === null) {
    throw new RangeError(`"${text}" is not an origin; expected e.g. https://chat.example`);
  }
  // Other schemes (apps, browser extensions) have no default port to drop.
  return /^https?:/.test(origin) ? new URL(origin).origin : origin;
}
