/** The program as an operator starts it: flags, environment, startup errors, signals. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Flag, OPTIONS, variableOf } from "../../chat/base/options.ts";
import config from "../../deno.json" with { type: "json" };
import { connectionKeys } from "../support/kv_rows.ts";
import { PROJECT, runDeno, runServer, ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually, withDeadline } from "../support/wait.ts";

Deno.test("--help shows every option of the table, --version the version", async () => {
  const { code, stdout } = await runServer(["--help"]);
  assertEquals(code, 0);
  for (const [flag, { help }] of Object.entries(OPTIONS)) {
    assert(stdout.includes(`--${flag} `), flag);
    assert(stdout.includes(`[${variableOf(flag as Flag)}; `), flag);
    assert(stdout.includes(help), help);
  }
  assert(stdout.split("\n").every((line) => line.length <= 100), "the lines are short");
  assertEquals(await runServer(["--version"]), {
    code: 0,
    stdout: `${config.version}\n`,
    stderr: "",
  });
});

Deno.test("wrong usage prints one line and ends with exit code 2", async () => {
  const wrong: [string[], Record<string, string>?][] = [
    [["--prot", "1"]],
    [["9000"]],
    [["--port", "http"]],
    [["--port", "65536"]],
    [["--port", "-1"]],
    [["--history", "7"]],
    [["--history", "-1d"]],
    [["--history", "9999d"]],
    [["--history", "soon"]],
    [["--max-history", "1000K"]],
    [["--max-history", "1.5G"]],
    [["--max-history"]],
    [["--limits", "registrations=5/2d"]],
    [[], { CHAT_MAX_HISTORY: "0" }],
    [["--grace", "61m"]],
    [["--grace", ""]],
    [["--registered", "4000d"]],
    [["--registered", "for ever"]],
    [["--reserved", "Boss,,Acme"]],
    [["--reserved", ""]],
    [["--port", "80.5"]],
    [["--port="]],
    [["--kv"]],
    [["--max-message", "1000000"]],
    [["--max-nickname", "0"]],
    [["--workers", "0"]],
    [["--limits", "many"]],
    [["--limits", "messages=0/1s"]],
    [["--limits", ""]],
    [["--max-connections", "0"]],
    [["--max-per-address", "-1"]],
    [["--max-unread", "1000"]],
    [["--max-memory", "100M"]],
    [["--max-memory", "much"]],
    [["--token", "short"]],
    [["--token"]],
    [["--origin"]],
    [["--origin", "chat.example"]],
    [["--trust-proxy", "10.0.0.0/33"]],
    [["--cert", "cert.pem"]],
    [["--key", "key.pem"]],
    [[], { CHAT_LIMITS: "messages=5" }],
    [[], { CHAT_TOKEN: "with a blank" }],
    [[], { CHAT_ORIGIN: "https://one.example,two" }],
    [[], { CHAT_TRUST_PROXY: "everybody" }],
    [["--workers", "many"]],
    [["--log", "xml"]],
    [["--log"]],
    [["--log-level", "debug"]],
    [[], { CHAT_LOG_ADDRESSES: "some" }],
    [["--workers", "2"]],
    [["--workers", "2", "--kv", ":memory:"]],
    [[], { PORT: "eighty" }],
    [[], { CHAT_HISTORY: "a week" }],
    [[], { CHAT_OPEN_HISTORY: "perhaps" }],
    [[], { CHAT_REGISTERED: "year" }],
    [[], { CHAT_RESERVED: "," }],
  ];
  await Promise.all(wrong.map(async ([args, env]) => {
    const { code, stdout, stderr } = await runServer(args, env);
    assertEquals([code, stdout], [2, ""], `${args} ${JSON.stringify(env)}`);
    assertMatch(stderr, /^[^\n]+\n$/);
    assert(!stderr.includes("with a blank"), "the token is not shown");
  }));
});

Deno.test("a missing or unusable resource prints one line and ends with exit code 1", async () => {
  using taken = Deno.listen({ port: 0 });
  const noKv = await Deno.makeTempFile();
  await Deno.writeTextFile(
    noKv,
    "this is no database, but it is long enough to be one\n".repeat(10),
  );
  const tls = (file: string) => new URL(`tests/support/tls/${file}`, PROJECT).pathname;
  const wrong: [string[], Record<string, string>?][] = [
    [["--port", "0", "--cert", "/there/is/none", "--key", tls("key.pem")]],
    [["--port", "0", "--cert", noKv, "--key", noKv]],
    [["--port", "0", "--cert", tls("cert.pem"), "--key", tls("cert.pem")]],
    [["--port", "0", "--cert", tls("ca.pem"), "--key", tls("key.pem")]],
    [["--port", String(taken.addr.port)]],
    [["--port", "0", "--hostname", "not.a.name.example"]],
    [["--port", "0", "--kv", "/there/is/no/such/folder/kv"]],
    [["--port", "0", "--kv", noKv]],
    [["--port", "0", "--kv", "http://127.0.0.1:9"], { DENO_KV_ACCESS_TOKEN: "x".repeat(16) }],
  ];
  for (const [args, env] of wrong) {
    const { code, stderr } = await runServer(args, env);
    assertEquals(code, 1, `${args}`);
    assertMatch(stderr, /^[^\n]+\n$/);
  }
  await Deno.remove(noKv);
});

Deno.test("the program is alive but not ready while KV does not answer, then prints one line and ends with exit code 1", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const held: Deno.Conn[] = [];
  const holding = (async () => {
    for await (const connection of silent) held.push(connection);
  })();
  const kv = `http://127.0.0.1:${silent.addr.port}`;
  await Promise.all(["1", "2"].map(async (workers) => {
    using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = free.addr;
    free.close();
    const ended = runServer(
      ["--hostname", "127.0.0.1", "--port", String(port), "--kv", kv, "--workers", workers],
      { DENO_KV_ACCESS_TOKEN: "x".repeat(16) },
    );
    let response: Response | undefined;
    const ask = async (path: string) => {
      response = await fetch(`http://127.0.0.1:${port}${path}`).catch(() => undefined);
      await response?.body?.cancel();
      return response !== undefined;
    };
    await eventually(() => ask("/readyz"), "it listens");
    assertEquals([response!.status, response!.headers.get("retry-after")], [503, "1"]);
    assert(await ask("/healthz"));
    assertEquals(response!.status, 200, "it is alive");
    const { code, stdout, stderr } = await ended;
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^Cannot open KV http:\S+: no answer for 10 seconds\. [^\n]+\n$/);
  }));
  silent.close();
  await holding;
  for (const connection of held) connection.close();
});

Deno.test("a flag overrides its variable, and the variable overrides the default", async () => {
  const env = { CHAT_KV: "/there/is/no/such/folder/kv", CHAT_MAX_ROOM: "3" };
  await using server = await ServerProcess.start(["--kv", ":memory:"], undefined, env);
  const ann = await TextClient.connect(server.url);
  ann.send("Ann", "/join four");
  await ann.next();
  await ann.expect("Room name too long: 4 characters, maximum 3.");
  await ann.disconnect();
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`${signal} shuts down gracefully: messages are shown, sockets close with 1012, no row is left`, async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/kv`;
    {
      await using server = await ServerProcess.start(["--kv", path, "--limits", "messages=off"]);
      const ann = await TextClient.connect(server.url);
      ann.send("Ann", "/join red");
      await ann.next();
      await ann.next();
      for (let i = 0; i < 50; i++) ann.send(`word ${i}`);
      await ann.expect("Ann: word 0");
      const { code } = await server.stop(signal);
      assertEquals(code, 0);
      const words = Array.from({ length: 49 }, (_, i) => `Ann: word ${i + 1}`);
      // Messages that arrived before the signal, in order and each once.
      const heard: string[] = [];
      assertEquals((await withDeadline(ann.closed, "the close")).code, 1012);
      while (heard.length < 49 && ann.unreadCount > 0) heard.push(await ann.next());
      assertEquals(heard, words.slice(0, heard.length));
    }
    using kv = await Deno.openKv(path);
    assertEquals(await connectionKeys(kv), []);
    kv.close();
    await Deno.remove(folder, { recursive: true });
  });
}

/** Runs the command of `deno task dev`, which also watches `watched`. */
function startDev(flags: string[], watched?: string) {
  const [program, ...args] = config.tasks.dev.command.replaceAll("'", "").split(" ");
  assertEquals([program, args[1]], ["deno", "--watch"]);
  if (watched !== undefined) args[1] = `--watch=${watched}`;
  const process = new Deno.Command(Deno.execPath(), {
    args: [...args, "--port", "0", ...flags],
    cwd: PROJECT,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const out = linesOf(process.stdout), errors = linesOf(process.stderr);
  const url = async () => {
    const line = await withDeadline(out.next(), "the server to listen", 60_000);
    return /ws:[^ ]+/.exec(line)![0];
  };
  return {
    url,
    /** Sends a signal and waits for the end. `printed` is what the program printed after that. */
    async stop(signal: Deno.Signal) {
      const sinceMs = performance.now();
      process.kill(signal);
      const status = await withDeadline(process.status, "the server to end");
      const ms = performance.now() - sinceMs;
      // These lines are Deno's.
      const printed = [...await out.rest(), ...await errors.rest()]
        .filter((line) => !line.startsWith("Watcher "));
      return { status, ms, printed };
    },
    [Symbol.asyncDispose]: async () => {
      try {
        process.kill("SIGKILL");
      } catch {
        // The process has ended.
      }
      await process.status;
      await Promise.all([out.rest(), errors.rest()]);
    },
  };
}

function linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let said = "", ended = false;
  const more = async () => {
    const { done, value } = await reader.read();
    ended ||= done;
    said += value ?? "";
  };
  return {
    async next(): Promise<string> {
      while (!said.includes("\n")) {
        if (ended) throw new Error(`the program ended: ${said}`);
        await more();
      }
      const [line, ...rest] = said.split("\n");
      said = rest.join("\n");
      return line!;
    },
    async rest(): Promise<string[]> {
      while (!ended) await more();
      return said.split("\n").filter((line) => line !== "");
    },
  };
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`under \`deno run --watch\` ${signal} ends the server without output within five seconds, all messages stored`, async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/kv`;
    {
      await using server = startDev(["--kv", path]);
      const ann = await TextClient.connect(await server.url());
      await ann.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
      await ann.request("/join red", 'Joined chat room "red"');
      await ann.request("the last word", "Ann: the last word");
      const { status, ms, printed } = await server.stop(signal);
      assertEquals((await withDeadline(ann.closed, "the close")).code, 1012);
      assertEquals(printed, []);
      assertEquals(status.code, signal === "SIGINT" ? 0 : 143);
      assert(ms < 5_000, `the shutdown took ${ms} ms`);
    }
    {
      using kv = await Deno.openKv(path);
      assertEquals(await connectionKeys(kv), []);
      kv.close();
    }
    await using server = startDev(["--kv", path]);
    const bob = await TextClient.connect(await server.url());
    bob.send("Bob", "/join red", "/history");
    for (let i = 0; i < 2; i++) await bob.next();
    assertMatch(await bob.next(), /Ann: the last word$/);
    await bob.disconnect();
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test("under `deno run --watch` the server restarts when a file changes, and SIGTERM still ends it", async () => {
  const file = await Deno.makeTempFile();
  await using server = startDev(["--kv", ":memory:"], file);
  const ann = await TextClient.connect(await server.url());
  await Deno.writeTextFile(file, "changed");
  const url = await server.url();
  assertEquals((await withDeadline(ann.closed, "the close")).code, 1012);
  const again = await TextClient.connect(url);
  await again.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
  await again.disconnect();
  const { status, printed } = await server.stop("SIGTERM");
  assertEquals([status.code, printed], [143, []]);
  await Deno.remove(file);
});

Deno.test("SIGTERM drains two thousand connections within five seconds", async () => {
  const folder = await Deno.makeTempDir();
  {
    await using server = await ServerProcess.start(["--kv", `${folder}/kv`]);
    const people = await Promise.all(
      Array.from({ length: 2000 }, () => TextClient.connect(server.url)),
    );
    await Promise.all(people.map(async (client, i) => {
      client.send(`person ${i}`);
      await client.next();
    }));
    // Each waits for its join, or the server sends two million join events.
    await Promise.all(people.map(async (client, i) => {
      client.send(`/join room${i % 100}`);
      while (!(await client.next()).startsWith("Joined"));
    }));
    const started = performance.now();
    const { code } = await server.stop("SIGTERM");
    const took = performance.now() - started;
    assertEquals(code, 0);
    assert(took < 5000, `the shutdown took ${took} ms`);
    const codes = await Promise.all(people.map(async ({ closed }) => (await closed).code));
    assertEquals(new Set(codes), new Set([1012]));
  }
  using kv = await Deno.openKv(`${folder}/kv`);
  assertEquals(await connectionKeys(kv), []);
  kv.close();
  await Deno.remove(folder, { recursive: true });
});

Deno.test("the next start removes the rows of a killed process: no members, and its nicknames are free", async () => {
  const folder = await Deno.makeTempDir();
  const flags = ["--kv", `${folder}/kv`];
  const ann = await (async () => {
    await using server = await ServerProcess.start(flags);
    const ann = await TextClient.connect(server.url);
    ann.send("Ann", "/join red");
    await ann.next();
    await ann.next();
    await server.stop("SIGKILL");
    return ann;
  })();
  await withDeadline(ann.closed, "the end of the connection");
  {
    await using server = await ServerProcess.start(flags);
    const again = await TextClient.connect(server.url);
    await again.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
    await again.request("/ls", "No rooms yet. Type /join {room} to start one.");
    await again.disconnect();
    assertEquals((await server.stop()).code, 0);
  }
  using kv = await Deno.openKv(`${folder}/kv`);
  assertEquals(await connectionKeys(kv), []);
  kv.close();
  await Deno.remove(folder, { recursive: true });
});

Deno.test("deno task bundle makes one file that runs by itself, with the page and with workers", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/parley.js`;
  const { code, stderr } = await runDeno(["task", "bundle", `--output=${file}`]);
  assertEquals(code, 0, stderr);
  {
    await using server = await ServerProcess.start(
      ["--kv", ":memory:"],
      ["run", "--no-config", "--unstable-kv", "--allow-net", file],
    );
    const ann = await TextClient.connect(server.url);
    await ann.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
    await ann.request("/join red", 'Joined chat room "red"');
    await ann.request("hello", "Ann: hello");
    await ann.disconnect();
    // The bundle contains the page and the client.
    for (
      const path of [
        "/",
        "/client.js",
        "/client/chat_client.js",
        "/page/page.js",
        "/page/style.css",
      ]
    ) {
      const url = new URL(path, server.url.replace("ws:", "http:"));
      const response = await fetch(url, { headers: { accept: "text/html" } });
      assertEquals(response.status, 200);
      // /client.js only exports what the modules below /client/ define.
      assert((await response.text()).length > (path === "/client.js" ? 60 : 2_000), path);
    }
  }
  {
    await using server = await ServerProcess.start(
      ["--kv", `${folder}/kv`, "--workers", "2"],
      ["run", "--no-config", "--unstable-kv", "--unstable-net", "-A", file],
    );
    const ann = await TextClient.connect(server.url);
    await ann.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
    await ann.disconnect();
    assertEquals((await server.stop()).code, 0);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("`deno task start` needs no other permissions, and passes flags on", async () => {
  await using server = await ServerProcess.start(["--kv", ":memory:"], ["task", "start"]);
  const ann = await TextClient.connect(server.url);
  await ann.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
  await ann.disconnect();
  assertEquals((await server.stop()).code, 0);
});

Deno.test({
  name: "only the user can read the files of a new KV, and an existing file keeps its mode",
  ignore: Deno.build.os === "windows",
  async fn() {
    const folder = await Deno.makeTempDir();
    const modes = async () => {
      const all: Record<string, string> = {};
      for await (const { name } of Deno.readDir(folder)) {
        const { mode } = await Deno.stat(`${folder}/${name}`);
        all[name] = (mode! & 0o777).toString(8);
      }
      return all;
    };
    {
      await using server = await ServerProcess.start(["--kv", `${folder}/kv`]);
      const ann = await TextClient.connect(server.url);
      ann.send("Ann");
      await ann.next();
      await ann.disconnect();
      const found = await modes();
      assert(Object.keys(found).length > 1, JSON.stringify(found));
      for (const [name, mode] of Object.entries(found)) assertEquals([name, mode], [name, "600"]);
      await server.stop();
    }
    await Deno.chmod(`${folder}/kv`, 0o640);
    {
      await using _server = await ServerProcess.start(["--kv", `${folder}/kv`]);
      assertEquals((await modes()).kv, "640");
    }
    await Deno.remove(folder, { recursive: true });
  },
});
