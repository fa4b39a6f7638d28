/** The server behind real proxies, with the configurations that OPERATIONS.md shows. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { PROJECT, ServerProcess, testWithProgram } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

/** Returns the block of a language in OPERATIONS.md. */
async function blockOf(language: string): Promise<string> {
  const text = await Deno.readTextFile(new URL("chat/docs/OPERATIONS.md", PROJECT));
  const block = new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(text)?.[1];
  assert(block !== undefined, language);
  return block!;
}

function freePort(): number {
  using listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  return listener.addr.port;
}

/** Runs a proxy in front of a server, and uses the page and a WebSocket through it. */
async function useThrough(
  configOf: (port: number, server: number, folder: string) => Promise<string>,
  command: (file: string) => [string, string[]],
): Promise<void> {
  await using server = await ServerProcess.start(["--kv", ":memory:", "--trust-proxy"]);
  const folder = await Deno.makeTempDir();
  const port = freePort(), file = `${folder}/config`;
  await Deno.writeTextFile(file, await configOf(port, server.port, folder));
  const [program, args] = command(file);
  const proxy = new Deno.Command(program, {
    args,
    env: { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const url = `http://127.0.0.1:${port}/`;
    let page = "";
    await eventually(async () => {
      const response = await fetch(url, { headers: { accept: "text/html" } }).catch(() =>
        undefined
      );
      page = await response?.text() ?? "";
      return response?.status === 200;
    }, "the proxy serves the page");
    assertMatch(page, /<!doctype html>/i);
    const client = await TextClient.connect(`ws://127.0.0.1:${port}/`);
    client.send("Ann", "/join red");
    await client.next();
    await client.next();
    client.send("through the proxy");
    await client.expect("Ann: through the proxy");
    await client.disconnect();
  } finally {
    proxy.kill("SIGTERM");
    await proxy.status;
    assertEquals((await server.stop()).code, 0);
    await Deno.remove(folder, { recursive: true });
  }
}

testWithProgram(
  "nginx",
  "the page and a WebSocket work through nginx, as OPERATIONS.md sets it up",
  () =>
    useThrough(async (port, server, folder) => {
      const block = (await blockOf("nginx")).replace("listen 443 ssl", `listen 127.0.0.1:${port}`)
        .replace(/^.*ssl_certificate.*\n/gm, "").replace("127.0.0.1:8000", `127.0.0.1:${server}`);
      const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map((name) => `${name}_temp_path ${folder}/${name};`).join("\n");
      return `daemon off; pid ${folder}/pid; error_log ${folder}/error; events {}
http { access_log off; ${paths}\n${block} }`;
    }, (file) => ["nginx", ["-c", file]]),
);

testWithProgram(
  "caddy",
  "the page and a WebSocket work through Caddy, as OPERATIONS.md sets it up",
  () =>
    useThrough(async (port, server) => {
      const block = (await blockOf("caddyfile")).replace("chat.example", `http://127.0.0.1:${port}`)
        .replace("127.0.0.1:8000", `127.0.0.1:${server}`);
      return `{\n  admin off\n}\n${block}`;
    }, (file) => ["caddy", ["run", "--adapter", "caddyfile", "--config", file]]),
);
