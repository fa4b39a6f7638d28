/** The health checks of the real program, with a database that stops answering. */
import { assertEquals } from "@std/assert";
import { DenoKv, ServerProcess, testWithProgram } from "../support/processes.ts";
import { eventually } from "../support/wait.ts";

testWithProgram(
  "denokv",
  "workers are alive but not ready while denokv does not answer, and ready again after that",
  async () => {
    await using kv = await DenoKv.start();
    await using server = await ServerProcess.start(
      ["--kv", kv.url, "--workers", "2"],
      ["run", "-A", "main.ts"],
      kv.env,
      "null",
    );
    /** Asks often enough to reach both workers: each request is a connection of its own. */
    const ask = async (path: string) => {
      const answers = await Promise.all(Array.from({ length: 8 }, async () => {
        const headers = { connection: "close" };
        const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { headers });
        return `${response.status} ${await response.text()}`;
      }));
      return [...new Set(answers)];
    };
    assertEquals(await ask("/readyz"), ["200 ok\n"]);
    kv.signal("SIGSTOP");
    const isUnready = async () =>
      `${await ask("/readyz")}` === "503 The database does not answer.\n";
    await eventually(isUnready, "no worker is ready");
    assertEquals(await ask("/healthz"), ["200 ok\n"]);
    kv.signal("SIGCONT");
    const isReady = async () => `${await ask("/readyz")}` === "200 ok\n";
    await eventually(isReady, "all workers are ready", 40_000);
  },
);
