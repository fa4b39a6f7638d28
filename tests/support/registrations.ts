/** What tests of registered nicknames share: the fixed replies, two instances, and a registration. */
import { TestServer } from "./test_server.ts";
import { eventually } from "./wait.ts";

/** A usable password. */
export const SECRET = "correct-horse";

/** Returns the reply to a nickname that is registered. */
export function registeredReply(nick: string): string {
  return `"${nick}" is registered. If it is yours, type /identify {password}; ` +
    "otherwise choose another nickname.";
}

/** Returns the reply to `/register`. */
export function ownedReply(nick: string): string {
  return `"${nick}" is now registered to you. Next time, enter it as your nickname, then type ` +
    "/identify {password}.";
}

/** Returns the reply to a login. */
export function welcomeReply(nick: string): string {
  return `Using nickname: ${nick}\nType /help for list of commands.`;
}

/** Returns the reply to a nickname that a client has. */
export function takenReply(nick: string): string {
  return `"${nick}" is taken. Choose another nickname. If it is you on another device, register ` +
    "the nickname there. Then you can use it on both.";
}

/** Returns the reply to a lookalike of a nickname that a client has. */
export function alikeReply(nick: string): string {
  return `"${nick}" looks too much like a nickname already in use. Choose another.`;
}

/** Opens two instances on one KV. */
export async function openTwo(kv: Deno.Kv, options: Parameters<typeof TestServer.open>[0] = {}) {
  const one = await TestServer.open({ kv, local: false, ...options });
  const other = await TestServer.open({ kv, local: false, ...options });
  return {
    one,
    other,
    async [Symbol.asyncDispose]() {
      await other[Symbol.asyncDispose]();
      await one[Symbol.asyncDispose]();
    },
  };
}

/** Registers a nickname by a client that then disconnects. */
export async function register(server: TestServer, nick: string, password = SECRET): Promise<void> {
  const client = await server.login(nick);
  await client.request(`/register ${password}`, ownedReply(nick));
  await client.disconnect();
  await eventually(async () => {
    const rows = [...(await valuesOf(server.kv, "user")).values()] as { sessions: unknown[] }[];
    return rows.every(({ sessions }) => sessions.length === 0);
  }, `the session of ${nick} is over`);
}

/** Returns the values under a prefix by the second part of their keys. */
export async function valuesOf(
  kv: Deno.Kv,
  ...prefix: Deno.KvKey
): Promise<Map<string, unknown>> {
  const values = new Map<string, unknown>();
  for await (const { key, value } of kv.list({ prefix })) values.set(String(key[1]), value);
  return values;
}
