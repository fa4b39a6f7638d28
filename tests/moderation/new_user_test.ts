/** A session that becomes another user inside a room: what holds for that user there holds for it at once. */
import { assertEquals } from "@std/assert";
import { JsonClient, PASSWORD } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";

const operatorSecret = "secret of operators";

Deno.test("Moderation: a muted user cannot write from a session that signs in inside the room", async () => {
  await using server = await TestServer.open({ operatorSecret });
  const ann = await JsonClient.register(server, "Ann", "red");
  const op = await JsonClient.login(server, "Op");
  await op.requestAll({ type: "op", secret: operatorSecret });
  await op.requestAll({ type: "mute", room: "red", nick: "Ann", reason: "spam" });
  const guest = await JsonClient.login(server, "Guest", "red");
  // In one frame's time: the message follows the sign-in at once.
  guest.send(
    { type: "identify", nick: "Ann", password: PASSWORD, ref: "in" },
    { type: "message", room: "red", text: "hi", ref: "said" },
  );
  let line = await guest.next();
  while (line.ref !== "said") line = await guest.next();
  assertEquals([line.type, line.code], ["error", "muted"]);
  await op.requestAll({ type: "unmute", room: "red", user: ann.user });
  guest.send({ type: "message", room: "red", text: "hi", ref: "again" });
  do line = await guest.next(); while (line.ref !== "again");
  assertEquals(line.type, "ok");
});
