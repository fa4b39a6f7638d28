/** Real processes around a real `denokv`, behind a proxy that loses the answer to one commit. */
import { assertEquals } from "@std/assert";
import { DenoKv, ServerProcess, testWithProgram } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";
import { LossyProxy } from "./lossy_proxy.ts";

async function start(kv: DenoKv, url: string): Promise<ServerProcess> {
  // Deno's KV client logs each of its own retries.
  return await ServerProcess.start(["--kv", url, "--limits", "off"], undefined, kv.env, "null");
}

function using(nick: string): string {
  return `Using nickname: ${nick}\nType /help for list of commands.`;
}

const REGISTERED =
  '"Ann" is now registered to you. Next time, enter it as your nickname, then type ' +
  "/identify {password}.";

testWithProgram(
  "denokv",
  "Processes: a commit that KV's client repeats after a lost answer counts once",
  async () => {
    await using kv = await DenoKv.start();
    await using proxy = new LossyProxy(kv.url);
    // One instance uses the proxy, the other does not.
    proxy.loseAnswerTo("company");
    await using lossy = await start(kv, proxy.url);
    let lost = proxy.lost;
    assertEquals(lost, 1, "the answer to the lease was not lost");
    await using other = await start(kv, kv.url);
    const losing = async (text: string, ask: () => Promise<void>) => {
      proxy.loseAnswerTo(text);
      await ask();
      assertEquals(proxy.lost, ++lost, `no answer to ${text} was lost`);
    };

    const bob = await TextClient.connect(other.url);
    await bob.request("Bob", using("Bob"));
    await bob.request("/join red", 'Joined chat room "red"');
    const ann = await TextClient.connect(lossy.url);
    await losing("username_Ann", () => ann.request("Ann", using("Ann")));
    await losing("room_red", () => ann.request("/join red", 'Joined chat room "red"'));
    await bob.expect("Ann joined room.");
    // Each message once and in this order, in shared and in exclusive mode.
    for (const word of ["first", "second"]) {
      await losing(word, () => ann.request(word, `Ann: ${word}`));
      await bob.expect(`Ann: ${word}`);
    }
    await losing("account", () => ann.request("/register correct-horse-battery", REGISTERED));
    await losing("username_Anna", () => ann.request("/nick Anna", "Nickname is: Anna"));
    await bob.expect("Ann is now known as Anna.");
    await losing("room_red", () => ann.request("/quit", 'Left chat room "red"'));
    await bob.expect("Anna left room.");
    // A released nickname is free for others, a registered one is not.
    await losing("username_Cleo", () => ann.request("/nick Cleo", "Nickname is: Cleo"));
    await bob.request("/nick Anna", "Nickname is: Anna");
    await ann.disconnect();
    await eventually(async () => {
      bob.send("/nick Cleo");
      return await bob.next() === "Nickname is: Cleo";
    }, "the nickname of a client that left is free");
    await bob.expectNothingElse();
    await bob.disconnect();
  },
);
