/** What both protocols share: subprotocols, binary frames, temporary rejections. */
import { assert, assertEquals } from "@std/assert";
import { knock } from "../support/raw_socket.ts";
import { countingKv, House, soon } from "../support/test_server.ts";
import { Speaker } from "../support/json_client.ts";

Deno.test("a handshake that offers only unknown subprotocols gets 400, and does not count as a connection", async () => {
  await using house = await House.open();
  const offered = async (protocols: string) => {
    const { status, text } = await knock(house.port, { "Sec-WebSocket-Protocol": protocols });
    return [status, text];
  };
  const refused = [400, "Unknown subprotocol. Offer chat.v1, or none for plain text.\n"];
  assertEquals(await offered("chat.v2"), refused);
  assertEquals(await offered("CHAT.V1, mqtt"), refused);
  assertEquals(house.chat.size, 0);
  assertEquals((await offered("chat.v2, chat.v1"))[0], 101);
});

Deno.test("a binary frame closes the connection with 1003, in both protocols", async () => {
  await using house = await House.open();
  for (const protocols of [[], ["chat.v1"]]) {
    const person = await house.connect("", protocols);
    person.say(new Uint8Array([72, 105]));
    assertEquals((await soon(person.closed, "the end")).code, 1003);
    assertEquals(person.transcript, []);
  }
});

Deno.test("a temporary rejection carries retryAfter in milliseconds", async () => {
  using kv = await Deno.openKv(":memory:");
  let isAway = false;
  const faulty = countingKv(kv, () => {
    if (isAway) throw new Error("away");
  });
  await using house = await House.open({ kv: faulty.kv });
  const ann = await Speaker.enter(house, "Ann");
  isAway = true;
  const { code, retryAfter } = await ann.asks({ type: "register", password: "correct-horse" });
  // Otherwise the connection's rows could not be removed at the end.
  isAway = false;
  assertEquals(code, "unavailable");
  assert(Number.isInteger(retryAfter) && retryAfter > 0, `${retryAfter}`);
});
