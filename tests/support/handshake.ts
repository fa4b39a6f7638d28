/** A WebSocket handshake by hand, for tests that look at the answer's status, text and headers. */
import { soon } from "./test_server.ts";

/** Sends a handshake, and returns the answer's status, text and headers. Then it hangs up. */
export async function knock(port: number, headers: Record<string, string> = {}, path = "/") {
  using peer = await Deno.connect({ hostname: "127.0.0.1", port });
  const all = {
    Host: `127.0.0.1:${port}`,
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  await peer.write(
    new TextEncoder().encode(`GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`),
  );
  let answer = "";
  const decoder = new TextDecoder();
  const bytes = new Uint8Array(4096);
  while (!/\r\n\r\n(?:HTTP|.+\n$|$)/s.test(answer) || !isWhole(answer)) {
    const n = await soon(peer.read(bytes), "an answer");
    if (n === null) break;
    answer += decoder.decode(bytes.subarray(0, n));
  }
  const [head = "", text = ""] = answer.split("\r\n\r\n");
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]);
  const header = (name: string) => new RegExp(`^${name}: (.*)$`, "im").exec(head)?.[1]?.trim();
  return { status, text, header };
}

function isWhole(answer: string): boolean {
  const [head = "", text = ""] = answer.split("\r\n\r\n");
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
  return answer.includes("\r\n\r\n") && new TextEncoder().encode(text).length >= length;
}
