/** What both protocols share: subprotocols, binary frames, temporary rejections. */
import { assert, assertEquals } from "@std/assert";
import { requestUpgrade } from "../support/raw_socket.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { TestServer } from "../support/test_server.ts";
import { withDeadline } from "../support/wait.ts";
import { JsonClient } from "../support/json_client.ts";

Deno.test("a handshake that offers only unknown subprotocols gets 400, and does not count as a connection", async () => {
  await using server = await TestServer.open();
  const offered = async (protocols: string) => {
    const { status, text } = await requestUpgrade(server.port, {
      "Sec-WebSocket-Protocol": protocols,
    });
    return [status, text];
  };
  const refused = [400, "Unknown subprotocol. Offer chat.v1, or none for plain text.\n"];
  assertEquals(await offered("chat.v2"), refused);
  assertEquals(await offered("CHAT.V1, mqtt"), refused);
  assertEquals(server.chat.size, 0);
  assertEquals((await offered("chat.v2, chat.v1"))[0], 101);
});

Deno.test("a binary frame closes the connection with 1003, in both protocols", async () => {
  await using server = await TestServer.open();
  for (const protocols of [[], ["chat.v1"]]) {
    const client = await server.connect("", protocols);
    client.send(new Uint8Array([72, 105]));
    assertEquals((await withDeadline(client.closed, "the end")).code, 1003);
    assertEquals(client.received, []);
  }
});

Deno.test("a temporary rejection carries retryAfter in milliseconds", async () => {
  using kv = await Deno.openKv(":memory:");
  let isAway = false;
  const faulty = countingKv(kv, () => {
    if (isAway) throw new Error("away");
  });
  await using server = await TestServer.open({ kv: faulty.kv });
  const ann = await JsonClient.login(server, "Ann");
  isAway = true;
  const { code, retryAfter } = await ann.request({ type: "register", password: "correct-horse" });
  // Otherwise the connection's rows could not be removed at the end.
  isAway = false;
  assertEquals(code, "unavailable");
  assert(Number.isInteger(retryAfter) && retryAfter > 0, `${retryAfter}`);
});
