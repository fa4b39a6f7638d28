/**
 * Attacks that have the server send far more than the attacker does: a room that is flooded with what
 * takes most room on the wire, and pages of history. Against the program as a process of its own, with
 * its default limits; the address of this machine is counted because `together` is set.
 *
 * With SHOW=1 the figures are printed.
 */
import { assert } from "@std/assert";
import { Person, residentBytes, ServerProcess, soon } from "../support/test_server.ts";
import { RawReader } from "../support/raw_socket.ts";

const ONE_ADDRESS = ["--kv", ":memory:", "--limits", "together=10"];

async function login(server: ServerProcess, nick: string, room: string): Promise<Person> {
  const person = await Person.connect(server.url, "chat.v1");
  person.say(
    JSON.stringify({ type: "login", nick }),
    JSON.stringify({ type: "join", room, ref: 1 }),
  );
  while (JSON.parse(await person.next()).ref !== 1);
  return person;
}

Deno.test("ten connections that flood a room with escapes: a reader at 5 Mbit/s stays, and hears who speaks after that", async () => {
  await using server = await ServerProcess.start(ONE_ADDRESS);
  const ann = await login(server, "Ann", "red");
  using reader = await RawReader.open(server.port, "chat.v1", 5e6 / 8);
  await reader.send(JSON.stringify({ type: "login", nick: "Slow" }));
  await reader.send(JSON.stringify({ type: "join", room: "red", ref: 1 }));
  while (JSON.parse(await reader.next()).ref !== 1);
  const before = await residentBytes(server.process.pid), read = reader.read;
  const mad = await Promise.all(
    Array.from({ length: 10 }, (_, i) => login(server, `mad ${i}`, "red")),
  );
  const since = performance.now();
  const text = "\u0001".repeat(16_000);
  for (const person of mad) {
    for (let i = 0; i < 33; i++) person.say(JSON.stringify({ type: "message", text }));
  }
  let sent = 0, memory = 0, missed = 0;
  // What Ann says is refused for as long as the room is full: then she says it again.
  let heard = false;
  const listening = (async () => {
    while (!heard) {
      const line = JSON.parse(await reader.next());
      if (line.type === "message" && line.nick === "Ann") heard = true;
      else if (line.type === "message") sent++;
      else if (line.type === "gap") missed += line.missed;
    }
  })();
  while (!heard) {
    ann.say(JSON.stringify({ type: "message", text: "can you hear me?", ref: 2 }));
    const answer = await (async () => {
      while (true) {
        const line = JSON.parse(await ann.next());
        if (line.ref === 2) return line;
      }
    })();
    memory = Math.max(memory, await residentBytes(server.process.pid));
    await Promise.race([
      listening,
      new Promise((resolve) => setTimeout(resolve, answer.retryAfter ?? 1_000)),
    ]);
    assert(performance.now() - since < 30_000, "Ann is heard within 30 seconds");
  }
  await soon(listening, "the reader");
  const bytes = reader.read - read;
  const seconds = (performance.now() - since) / 1000;
  if (Deno.env.get("SHOW")) {
    console.log({
      floods: sent,
      missed,
      MB: bytes / 1e6,
      seconds,
      MiB: (memory - before) / 2 ** 20,
    });
  }
  // 330 messages of 96 KB were 32.5 MB. The room takes 200 KiB of them, and the first that goes over.
  assert(bytes < 1_000_000, `${bytes} bytes`);
  assert(memory - before < 100 * 2 ** 20, `${memory - before} bytes more`);
  for (const person of [...mad, ann]) person.socket.close();
  await Promise.all([...mad, ann].map(({ closed }) => closed));
});

Deno.test("requests of 51 bytes for pages of history draw no more than what commands may cost", async () => {
  await using server = await ServerProcess.start([
    ...["--kv", ":memory:", "--limits", "messages=off,room=off,together=10"],
  ]);
  const ann = await login(server, "Ann", "red");
  const text = "x".repeat(16_000);
  for (let i = 0; i < 100; i++) {
    ann.say(JSON.stringify({ type: "message", text, ref: i + 10 }));
    // More than 256 Ki characters may not wait.
    if (i % 10 === 9) { while (JSON.parse(await ann.next()).ref !== i + 10); }
  }
  const mad = await Promise.all(
    Array.from({ length: 10 }, (_, i) => login(server, `mad ${i}`, "red")),
  );
  let bytes = 0, requests = 0, refused = 0;
  const until = performance.now() + 3_000;
  await Promise.all(mad.map(async (person) => {
    while (performance.now() < until && person.socket.readyState === 1) {
      person.say('{"type":"history","limit":100,"ref":"x"}');
      requests++;
      while (true) {
        const line = await Promise.race([person.next(), person.closed]);
        if (typeof line !== "string") return;
        bytes += line.length;
        if (!line.includes('"ref":"x"')) continue;
        if (line.startsWith('{"type":"error"')) {
          refused++;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        break;
      }
    }
  }));
  if (Deno.env.get("SHOW")) {
    console.log({ requests, refused, MB: bytes / 1e6, Mbit_per_s: bytes * 8 / 3e6 });
  }
  // 1,200 commands of 4 KiB at once are 4.9 MB, and each of ten may have a page more in the making.
  assert(bytes < 8_000_000, `${bytes} bytes`);
  assert(refused > 0);
  for (const person of [...mad, ann]) person.socket.close();
  await Promise.all([...mad, ann].map(({ closed }) => closed));
});
