/** Several instances in one process, as Web Workers on one port and one KV file. */
import { assertEquals } from "@std/assert";
import { eventually, Person, rowsOf, ServerProcess } from "../support/test_server.ts";

Deno.test("Workers: with --workers 2 all clients share one chat, and a signal shuts both down gracefully", async () => {
  const folder = await Deno.makeTempDir();
  {
    await using server = await ServerProcess.start([
      ...["--workers", "2", "--kv", `${folder}/kv`, "--limits", "off"],
    ]);
    using kv = await Deno.openKv(`${folder}/kv`);
    const people: Person[] = [];
    const instances = async () =>
      new Set(
        await Array.fromAsync(kv.list({ prefix: ["instance_row"] }), ({ key }) => key[1]),
      ).size;
    // The system distributes connections: until both workers have some, and at least four exist.
    await eventually(async () => {
      const nick = `p${people.length}`;
      const person = await Person.connect(server.url);
      people.push(person);
      await person.asks(nick, `Using nickname: ${nick}\nType /help for list of commands.`);
      return people.length >= 4 && await instances() === 2;
    }, "both workers have people");
    for (const person of people) {
      await person.asks("/join red", 'Joined chat room "red"');
      // Waits for the joins of the others, so that no other frame comes between.
      for (const other of people.slice(0, people.indexOf(person))) {
        await other.hears(`p${people.indexOf(person)} joined room.`);
      }
    }
    for (let i = 0; i < 200; i++) people[i % people.length]!.say(`word ${i}`);
    const heard = await Promise.all(people.map(async (person) => {
      const words: string[] = [];
      while (words.length < 200) words.push(await person.next());
      return words;
    }));
    for (const words of heard) assertEquals(words, heard[0]);
    assertEquals(new Set(heard[0]).size, 200);
    await people[0]!.asks("/ls", people.map((_, i) => `p${i}`).join("\n"));
    kv.close();
    assertEquals((await server.stop("SIGTERM")).code, 0);
    for (const person of people) assertEquals((await person.closed).code, 1012);
  }
  using kv = await Deno.openKv(`${folder}/kv`);
  assertEquals(await rowsOf(kv), []);
  kv.close();
  await Deno.remove(folder, { recursive: true });
});
