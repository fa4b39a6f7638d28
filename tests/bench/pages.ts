/**
 * Measures how long a page of history takes in a room of 1,000 messages and in one of 100,000: the
 * last page, and one in the middle. Prints one Markdown table.
 *
 *     deno run -A tests/bench/pages.ts
 */
import { ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { sleep } from "../support/wait.ts";

const ROUNDS = 200;

/** Sends `many` messages to a room. Returns the ID of the one in the middle. */
async function fill(server: ServerProcess, room: string, many: number): Promise<string> {
  const client = await TextClient.connect(server.url, "chat.v1");
  client.send(`{"type":"login","nick":"${room}"}`, `{"type":"join","room":"${room}"}`);
  let middle = "";
  for (let said = 0; said < many; said += 200) {
    const lines = Array.from(
      { length: 200 },
      (_, i) => `{"type":"message","room":"${room}","text":"word ${said + i}"}`,
    );
    client.send(lines.join("\n"));
    for (let heard = 0; heard < 200;) {
      const line = await client.next();
      if (!line.startsWith('{"type":"message"')) continue;
      heard++;
      if (said + heard === many / 2) middle = JSON.parse(line).id;
    }
    client.received.length = 0;
  }
  await client.disconnect();
  return middle;
}

/** Requests a page many times. Returns the milliseconds that each took, sorted. */
async function measure(server: ServerProcess, room: string, before?: string): Promise<number[]> {
  const client = await TextClient.connect(server.url, "chat.v1");
  client.send(`{"type":"login","nick":"reader"}`, `{"type":"join","room":"${room}"}`);
  await client.next();
  await client.next();
  const took: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const started = performance.now();
    client.send(JSON.stringify({ type: "history", room, before, limit: 50 }));
    const { events } = JSON.parse(await client.next());
    took.push(performance.now() - started);
    if (events.length !== 50) throw new Error(`${events.length} events`);
  }
  client.socket.close(1000);
  await client.closed;
  return took.sort((a, b) => a - b);
}

const folder = await Deno.makeTempDir();
await using server = await ServerProcess.start(["--kv", `${folder}/kv`, "--limits", "off"]);
const middles = new Map<string, string>();
for (const many of [1_000, 100_000]) {
  middles.set(String(many), await fill(server, String(many), many));
}
// By then the last messages are compacted into history.
await sleep(3_000);
console.log(
  "| page of 50 | messages in the room | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: |",
);
for (
  const [page, at] of [["the last", () => undefined], [
    "in the middle",
    (room: string) => middles.get(room),
  ]] as const
) {
  for (const room of middles.keys()) {
    const took = await measure(server, room, at(room));
    const ms = (part: number) => took[Math.floor(took.length * part)]!.toFixed(2);
    console.log(`| ${page} | ${Number(room).toLocaleString("en")} | ${ms(0.5)} | ${ms(0.99)} |`);
  }
}
await server.stop();
await Deno.remove(folder, { recursive: true });
