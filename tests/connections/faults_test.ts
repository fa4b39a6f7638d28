/** What the log says when a request fails because of the server: which connection, and from where. */
import { assertEquals, assertMatch } from "@std/assert";
import type { Fields } from "../../chat/mod.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { TestServer } from "../support/test_server.ts";

Deno.test("a request that fails is logged with its connection and its shortened address, without the message", async () => {
  using inMemory = await Deno.openKv(":memory:");
  let fails = false;
  const { kv } = countingKv(inMemory, (call) => {
    if (fails && call === "read") throw new Error("no route\nto KV");
  });
  const logged: [string, Fields?][] = [];
  const warn = (message: string, fields?: Fields) => void logged.push([message, fields]);
  const log = { info: () => {}, warn, error: warn };
  await using server = await TestServer.open({ kv, log, trustProxy: ["private"] });
  const headers = { "x-forwarded-for": "203.0.113.77" };
  const ann = await server.connect("", { protocols: [], headers });
  ann.send("Ann");
  await ann.next();
  fails = true;
  ann.send("/register some-password");
  await ann.next();
  fails = false;
  const [message, fields] = logged.find(([line]) => line.startsWith("Cannot handle"))!;
  assertEquals(message, "Cannot handle a request: no route to KV");
  assertEquals(fields!.address, "203.0.113.0/24");
  assertMatch(fields!.connection!, /^[0-9A-Z]{26}$/);
});
