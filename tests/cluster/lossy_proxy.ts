/**
 * A proxy before a `denokv` that loses the answer to a chosen commit. The commit is written, and Deno's
 * KV client, which receives 502 (Bad Gateway), commits again.
 */

/** A proxy on its own port. */
export class LossyProxy implements AsyncDisposable {
  readonly url: string;
  /** The number of lost answers. */
  lost = 0;
  readonly #upstream: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #end = new AbortController();
  /** A text in the commit whose answer will be lost. */
  #wanted: string | undefined;

  /** `upstream`: the address of the `denokv`. */
  constructor(upstream: string) {
    this.#upstream = upstream;
    this.#server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      signal: this.#end.signal,
      onListen() {},
      // A connection that either side closes is not an error here.
      onError: () => new Response(null, { status: 502 }),
    }, (request) => this.#pass(request));
    this.url = `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** Loses the answer to the next commit that contains this text, and to no other. */
  loseAnswerTo(text: string): void {
    this.#wanted = text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#server.finished;
  }

  async #pass(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const body = await request.bytes();
    const { method, headers } = request;
    const asked = { method, headers, body, signal: this.#end.signal };
    const answer = await fetch(this.#upstream + pathname, asked);
    if (!this.#isWanted(pathname, body)) return answer;
    await answer.body?.cancel();
    return new Response(null, { status: 502 });
  }

  #isWanted(pathname: string, body: Uint8Array): boolean {
    if (this.#wanted === undefined || !pathname.endsWith("/atomic_write")) return false;
    if (!new TextDecoder("latin1").decode(body).includes(this.#wanted)) return false;
    this.#wanted = undefined;
    this.lost++;
    return true;
  }
}
