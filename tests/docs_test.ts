/**
 * The documents: their links lead somewhere, their tables can be read as text, and the session in the
 * README is what the server does. Sessions and examples of single documents are tested elsewhere
 * (tests/protocols/chat_v1_test.ts, tests/client/).
 */
import { assert, assertEquals } from "@std/assert";
import { startChat } from "../chat/mod.ts";

const PROJECT = new URL("../", import.meta.url);

/** Lines of README.md, at most: its readers have just found the project. */
const MAX_README_LINES = 150;

/** Columns of a table, at most: it must be readable in a terminal. */
const MAX_TABLE_COLUMNS = 110;

/** Milliseconds in which a line of the session must come. */
const LINE_LIMIT_MS = 5_000;

/** Paths of all documents, relative to the project. */
async function documentPaths(): Promise<string[]> {
  const paths = ["README.md"];
  for await (const { name } of Deno.readDir(new URL("chat/docs/", PROJECT))) {
    if (name.endsWith(".md")) paths.push(`chat/docs/${name}`);
  }
  return paths;
}

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, PROJECT));
}

/** A document without its blocks of code, in which nothing is a link or a heading. */
function prose(text: string): string {
  return text.replace(/^( *)```[^]*?^\1```$/gm, "");
}

/** The anchors that GitHub gives to the headings of a document. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading] of prose(text).matchAll(/^#+ (.+)$/gm)) {
    const slug = heading!.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-");
    assert(!anchors.has(slug), `two headings have the anchor #${slug}`);
    anchors.add(slug);
  }
  return anchors;
}

/** The targets of links and pictures in a document that are not addresses on the internet. */
function linksIn(text: string): string[] {
  const source = prose(text).replace(/`[^`\n]*`/g, "");
  const links = [
    ...source.matchAll(/\]\(([^)\s]+)\)/g),
    ...source.matchAll(/\b(?:src|srcset|href)="([^"]+)"/g),
  ].map(([, target]) => target!);
  return links.filter((target) => !/^[a-z]+:/.test(target));
}

Deno.test("documents: every link leads to a file, and every anchor to a heading", async () => {
  let count = 0;
  for (const path of await documentPaths()) {
    for (const link of linksIn(await read(path))) {
      const [file, anchor] = link.split("#") as [string, string | undefined];
      const target = file === "" ? path : new URL(file, `file:///${path}`).pathname.slice(1);
      const info = await Deno.stat(new URL(target, PROJECT)).catch(() => undefined);
      assert(info !== undefined, `${path}: there is no ${link}`);
      if (anchor !== undefined) {
        assert(target.endsWith(".md"), `${path}: ${link} has an anchor`);
        assert(anchorsOf(await read(target)).has(anchor), `${path}: ${link} leads nowhere`);
      }
      count++;
    }
  }
  assert(count > 50, `only ${count} links were found`);
});

Deno.test("documents: README.md has at most 150 lines and links to every other document", async () => {
  const readme = await read("README.md");
  const lines = readme.trimEnd().split("\n").length;
  assert(lines <= MAX_README_LINES, `${lines} lines`);
  const links = linksIn(readme).map((link) => link.split("#")[0]);
  for (const path of await documentPaths()) {
    assert(path === "README.md" || links.includes(path), `README.md does not link to ${path}`);
  }
});

Deno.test("documents: tables have at most 110 columns", async () => {
  for (const path of await documentPaths()) {
    for (const line of prose(await read(path)).split("\n")) {
      if (!line.startsWith("|")) continue;
      assert([...line].length <= MAX_TABLE_COLUMNS, `${path}: ${line}`);
    }
  }
});

Deno.test("documents: ARCHITECTURE.md has a row for every layer, and no other", async () => {
  const layers: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL("chat/", PROJECT))) {
    if (isDirectory && name !== "docs") layers.push(`${name}/`);
  }
  const rows = (await read("chat/docs/ARCHITECTURE.md")).matchAll(/^\| \[(\w+\/)\]\(/gm);
  assertEquals([...rows].map(([, name]) => name!).sort(), layers.sort());
});

/** A client of plain text: what the user types, and the lines that the user reads. */
class Terminal implements Disposable {
  readonly #socket: WebSocket;
  readonly #lines: string[] = [];
  #wake = (): void => {};

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      this.#lines.push(...String(data).split("\n"));
      this.#wake();
    };
  }

  static async open(port: number): Promise<Terminal> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return new Terminal(socket);
  }

  type(line: string): void {
    this.#socket.send(line);
  }

  /** The next line; or `undefined` if none comes in time. */
  async line(): Promise<string | undefined> {
    if (this.#lines.length === 0) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, LINE_LIMIT_MS);
      });
      clearTimeout(timer);
    }
    return this.#lines.shift();
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

Deno.test("documents: the session in README.md is what the server does", async () => {
  const [, session] = /```text\n([^]*?)```/.exec(await read("README.md"))!;
  using kv = await Deno.openKv(":memory:");
  const chat = await startChat({ kv, local: true });
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, chat.fetch);
  try {
    using john = await Terminal.open(server.addr.port);
    using jenny = await Terminal.open(server.addr.port);
    for (const written of session!.trimEnd().split("\n")) {
      const [, line, others] = /^(.*?)(?: +\(the other terminal: (.*)\))?$/.exec(written)!;
      for (const typed of others?.split(", then ") ?? []) {
        jenny.type(typed);
        await jenny.line();
      }
      if (line!.startsWith("> ")) john.type(line!.slice(2));
      else assertEquals(await john.line(), line);
    }
  } finally {
    await chat.close();
    await server.shutdown();
  }
});

Deno.test("documents: every file that ARCHITECTURE.md names exists", async () => {
  const names = (await read("chat/docs/ARCHITECTURE.md")).matchAll(/`([\w.]+\/[\w./]+\.\w+)`/g);
  for (const [, name] of names) {
    const root = name!.startsWith("tests/") || name!.startsWith(".") ? "" : "chat/";
    const info = await Deno.stat(new URL(root + name, PROJECT)).catch(() => undefined);
    assert(info?.isFile, `there is no ${name}`);
  }
});

/** Checks that the lines of one client are what the server does. An empty line begins another session. */
async function replay(sessions: string): Promise<void> {
  using kv = await Deno.openKv(":memory:");
  const chat = await startChat({ kv, local: true, operators: ["Olga"] });
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, chat.fetch);
  try {
    for (const session of sessions.trimEnd().split("\n\n")) {
      // The nickname is free once the connection before has ended.
      while (chat.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
      using ann = await Terminal.open(server.addr.port);
      for (const line of session.split("\n")) {
        if (line.startsWith("> ")) ann.type(line.slice(2));
        else assertEquals(`< ${await ann.line()}`, line);
      }
    }
  } finally {
    await chat.close();
    await server.shutdown();
  }
}

Deno.test("documents: the sessions of registration in OPERATIONS.md are what the server does", async () => {
  const text = await read("chat/docs/OPERATIONS.md");
  await replay(/### Registration\n\n```text\n([^]*?)```/.exec(text)![1]!);
});

Deno.test("documents: the first evening of an operator in OPERATIONS.md is what the server does", async () => {
  const text = await read("chat/docs/OPERATIONS.md");
  await replay(/### Become an operator\n[^]*?```text\n([^]*?)```/.exec(text)![1]!);
});
