/**
 * Who may come in: pages of which other sites, and whoever knows the token of a private chat.
 *
 * A helper at the door. It knows neither nicknames nor passwords: this is about the house, not about
 * who somebody is in it.
 */
import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";

/** How a private or a widely used chat is set up. */
export interface AccessSettings {
  /**
   * Sites whose pages may connect, besides that of this server: origins as `https://chat.example`,
   * `null` for what has none (files, sandboxes), or `*` for all.
   */
  readonly origins?: readonly string[];
  /**
   * Names of this server, besides `localhost`, under which clients in its own network may open its
   * page; `any`: every name. A site can have its own name point to a private address for a moment
   * (DNS rebinding), so a name that is not known proves nothing there. Default: none.
   */
  readonly hosts?: readonly string[] | "any";
  /** What whoever comes in must know: 8 to 256 visible ASCII characters. Default: nothing. */
  readonly token?: string;
}

/** What a request was asked for as, and whether it came from the server's own network. */
export interface OwnSite {
  /** `https:` or `http:`. */
  readonly protocol: string;
  readonly host: string;
  readonly isLocal: boolean;
}

/** What a subprotocol must begin with to be an access token: its base64url without padding follows. */
export const TOKEN_PROTOCOL = "chat.token.";

/** What may stand in a header, and is no word. */
const TOKEN_PATTERN = /^[\x21-\x7e]{8,256}$/;

/** The doorkeeper. */
export class Access {
  readonly #origins: ReadonlySet<string>;
  /** `undefined`: every name is known. */
  readonly #hosts: ReadonlySet<string> | undefined;
  readonly #token: Uint8Array | undefined;

  /** @throws {RangeError} when a setting is not what it should be; the token is not in its message. */
  constructor({ origins = [], hosts = [], token }: AccessSettings = {}) {
    this.#origins = new Set(origins.map(originFrom));
    this.#hosts = hosts === "any" ? undefined : new Set(hosts.map((each) => each.toLowerCase()));
    if (token !== undefined && !TOKEN_PATTERN.test(token)) {
      throw new RangeError("the token must have 8 to 256 visible ASCII characters, and no blanks");
    }
    this.#token = token === undefined ? undefined : digest(token);
  }

  /**
   * Whether a page of that origin may connect. What has no origin is no page: a terminal, a program.
   * Without TLS it is not known whether a proxy has it, so there `https` is the same site, too.
   */
  allowsOrigin(origin: string | null, own: OwnSite): boolean {
    if (origin === null || this.#origins.has("*")) return true;
    if (this.#origins.has(origin.toLowerCase())) return true;
    return isOwnSite(origin, own) && (!own.isLocal || this.#isOwnName(origin));
  }

  /** Whether the host of a page's origin is known to be this server's. */
  #isOwnName(origin: string): boolean {
    const hostname = URL.parse(origin)?.hostname ?? "";
    if (this.#hosts === undefined || this.#hosts.has(hostname)) return true;
    // Nobody looks an address up: a page of it is this server's.
    if (hostname.startsWith("[") || isIP(hostname) !== 0) return true;
    return hostname === "localhost" || hostname.endsWith(".localhost");
  }

  /** Whether whoever asks knows the token, if there is one. */
  allows(headers: Headers): boolean {
    if (this.#token === undefined) return true;
    const given = bearer(headers) ?? offered(headers);
    // Hashed, both are equally long: how long it takes tells nothing about the token.
    return given !== undefined && timingSafeEqual(digest(given), this.#token);
  }
}

/** Whether a page is of the site that it asks for. */
export function isOwnSite(origin: string, own: OwnSite): boolean {
  const url = URL.parse(origin);
  const ownUrl = URL.parse(`${url?.protocol}//${own.host}`);
  if (url === null || ownUrl === null || url.host !== ownUrl.host) return false;
  return url.protocol === "https:" || (url.protocol === "http:" && own.protocol === "http:");
}

/** The token in an `Authorization` header (RFC 6750, section 2.1). */
function bearer(headers: Headers): string | undefined {
  return /^bearer +(\S+)\s*$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/** The token among the subprotocols: a browser can send no other header of its own. */
function offered(headers: Headers): string | undefined {
  const protocols = headers.get("sec-websocket-protocol")?.split(",") ?? [];
  const found = protocols.map((each) => each.trim()).find((each) =>
    each.startsWith(TOKEN_PROTOCOL)
  );
  return found && Buffer.from(found.slice(TOKEN_PROTOCOL.length), "base64url").toString("latin1");
}

function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

function originFrom(text: string): string {
  const origin = text.toLowerCase().replace(/\/$/, "");
  if (origin === "*" || origin === "null") return origin;
  if (!/^[a-z][a-z\d+.-]*:\/\/[^\s/?#@]+$/.test(origin) || URL.parse(origin) === null) {
    throw new RangeError(`"${text}" is no origin like https://chat.example`);
  }
  // Other schemes (of apps, of browser extensions) have no default port to leave out.
  return /^https?:/.test(origin) ? new URL(origin).origin : origin;
}
