/** Several instances in one process, as Web Workers on one port and one KV file. */
import { assertEquals } from "@std/assert";
import { connectionKeys } from "../support/kv_rows.ts";
import { ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

Deno.test("Workers: with --workers 2 all clients share one chat, and a signal shuts both down gracefully", async () => {
  const folder = await Deno.makeTempDir();
  {
    await using server = await ServerProcess.start([
      ...["--workers", "2", "--kv", `${folder}/kv`, "--limits", "off"],
    ]);
    using kv = await Deno.openKv(`${folder}/kv`);
    const people: TextClient[] = [];
    const instances = async () =>
      new Set(
        await Array.fromAsync(kv.list({ prefix: ["instance_row"] }), ({ key }) => key[1]),
      ).size;
    // The system distributes connections: until both workers have some, and at least four exist.
    await eventually(async () => {
      const nick = `p${people.length}`;
      const client = await TextClient.connect(server.url);
      people.push(client);
      await client.request(nick, `Using nickname: ${nick}\nType /help for list of commands.`);
      return people.length >= 4 && await instances() === 2;
    }, "both workers have people");
    for (const client of people) {
      await client.request("/join red", 'Joined chat room "red"');
      // Waits for the joins of the others, so that no other frame comes between.
      for (const other of people.slice(0, people.indexOf(client))) {
        await other.expect(`p${people.indexOf(client)} joined room.`);
      }
    }
    for (let i = 0; i < 200; i++) people[i % people.length]!.send(`word ${i}`);
    const heard = await Promise.all(people.map(async (client) => {
      const words: string[] = [];
      while (words.length < 200) words.push(await client.next());
      return words;
    }));
    for (const words of heard) assertEquals(words, heard[0]);
    assertEquals(new Set(heard[0]).size, 200);
    await people[0]!.request("/ls", people.map((_, i) => `p${i}`).join("\n"));
    kv.close();
    assertEquals((await server.stop("SIGTERM")).code, 0);
    for (const client of people) assertEquals((await client.closed).code, 1012);
  }
  using kv = await Deno.openKv(`${folder}/kv`);
  assertEquals(await connectionKeys(kv), []);
  kv.close();
  await Deno.remove(folder, { recursive: true });
});
