/**
 * Measures how long a message takes from a client of one server process to a client of another. Both
 * processes use one `denokv` on this machine. Prints one Markdown table.
 *
 *     deno run -A tests/bench/across.ts
 */
import { DenoKv, ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { sleep } from "../support/wait.ts";

const SECONDS = 5;

/** Sends `rate` messages a second. Returns the milliseconds that each took, sorted. */
async function measure(a: ServerProcess, b: ServerProcess, rate: number): Promise<number[]> {
  const sender = await TextClient.connect(a.url);
  const receiver = await TextClient.connect(b.url);
  const took: number[] = [];
  for (const [nick, client] of [["sender", sender], ["receiver", receiver]] as const) {
    client.send(`${nick}${rate}`, `/join rate${rate}`);
    await client.next();
    await client.next();
  }
  receiver.socket.onmessage = ({ data }) => {
    const sentAt = / @([\d.]+)$/.exec(data);
    if (sentAt) took.push(performance.now() - Number(sentAt[1]));
  };
  const started = performance.now();
  let sentCount = 0;
  while (performance.now() - started < SECONDS * 1000) {
    const due = (performance.now() - started) / 1000 * rate;
    while (sentCount < due) {
      sender.send(`word @${performance.now()}`);
      sentCount++;
    }
    await sleep(1);
  }
  await sleep(1000);
  if (took.length !== sentCount) {
    throw new Error(`Lost messages: ${sentCount} sent, ${took.length} received`);
  }
  await Promise.all([sender.disconnect(), receiver.disconnect()]);
  return took.sort((a, b) => a - b);
}

await using kv = await DenoKv.start();
await using a = await ServerProcess.start(["--kv", kv.url, "--limits", "off"], undefined, kv.env);
await using b = await ServerProcess.start(["--kv", kv.url, "--limits", "off"], undefined, kv.env);
console.log("| messages/s | p50 ms | p99 ms | max ms |\n| ---: | ---: | ---: | ---: |");
for (const rate of [20, 200, 1000]) {
  const took = await measure(a, b, rate);
  const at = (part: number) =>
    took[Math.min(took.length - 1, Math.floor(took.length * part))]!.toFixed(1);
  console.log(`| ${rate} | ${at(0.5)} | ${at(0.99)} | ${at(1)} |`);
}
