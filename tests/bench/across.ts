/**
 * How long a message takes from a client of one process to a client of another, both around one
 * `denokv` on this machine. Prints one Markdown table.
 *
 *     deno run -A tests/bench/across.ts
 */
import { DenoKv, Person, ServerProcess } from "../support/test_server.ts";

const SECONDS = 5;

async function measure(a: ServerProcess, b: ServerProcess, rate: number): Promise<number[]> {
  const speaker = await Person.connect(a.url);
  const listener = await Person.connect(b.url);
  const took: number[] = [];
  for (const person of [speaker, listener]) {
    const name = `${person === speaker ? "speaker" : "listener"}${rate}`;
    person.say(name, `/join rate${rate}`);
    await person.next();
    await person.next();
  }
  listener.socket.onmessage = ({ data }) => {
    const sent = / @([\d.]+)$/.exec(data);
    if (sent) took.push(performance.now() - Number(sent[1]));
  };
  const started = performance.now();
  let said = 0;
  while (performance.now() - started < SECONDS * 1000) {
    const due = (performance.now() - started) / 1000 * rate;
    while (said < due) {
      speaker.say(`word @${performance.now()}`);
      said++;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await new Promise((resolve) => setTimeout(resolve, 1000));
  if (took.length !== said) throw new Error(`${said} were said, ${took.length} heard`);
  await Promise.all([speaker.leave(), listener.leave()]);
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
