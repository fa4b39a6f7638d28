/**
 * Runs one chat: a listener, a database, and the chat between them.
 *
 * It reads no environment, handles no signal and does not exit: main.ts does.
 */
import type { Log } from "../base/log.ts";
import { type Chat, type ChatOptions, startChat } from "../mod.ts";
import { kvAdvice, openKv } from "./kv.ts";
import { Listener } from "./listener.ts";
import type { Settings } from "./settings.ts";
import { reasonOf, StartupError } from "./startup_error.ts";
import { LayoutError, prepareLayout } from "../care/layout.ts";
import { within } from "./within.ts";

/** Milliseconds within which a chat must have started, the cleanup after dead instances included. */
export const START_TIMEOUT_MS = 60_000;

/** The place of a chat among several in this process. */
export interface Placement {
  /** Whether others listen on the same port. */
  readonly shared: boolean;
  /** Whether it starts first: only then must every silent instance in the database be dead. */
  readonly first: boolean;
}

/** A server that runs. */
export interface Running {
  readonly port: number;
  /** Shuts down gracefully: accepted messages are stored and shown, clients are closed with 1012. */
  end(): Promise<void>;
}

/**
 * Starts a chat and listens for its clients.
 *
 * @throws {StartupError} if it cannot start.
 */
export async function runChat(
  settings: Settings,
  { shared, first }: Placement,
  log: Log,
): Promise<Running> {
  const { port, hostname, tls } = settings;
  // Before the database is opened: an operator who starts a second server learns it from the port.
  const listener = new Listener({ port, hostname, tls, reusePort: shared }, log);
  const { kv, chat } = await startChatOnKv(settings, first, log).catch((error) => {
    listener.stop();
    throw error;
  });
  listener.fetch = chat.fetch;
  return {
    port: listener.port,
    async end() {
      // The chat answers 503 from here on. Stopping the listener first would close sockets with 1001.
      await chat.close();
      listener.stop();
      kv.close();
    },
  };
}

async function startChatOnKv(
  settings: Settings,
  first: boolean,
  log: Log,
): Promise<{ kv: Deno.Kv; chat: Chat }> {
  const kv = await openKv(settings);
  await checkLayout(kv);
  const { isKvRemote } = settings;
  const options: ChatOptions = {
    kv,
    connect: isKvRemote ? () => Deno.openKv(settings.kv) : undefined,
    local: !isKvRemote,
    cleanUpSilent: first,
    log,
    ...settings.chat,
  };
  try {
    return { kv, chat: await within(START_TIMEOUT_MS, startChat(options)) };
  } catch (error) {
    const advice = kvAdvice(error, settings);
    throw new StartupError(`Cannot start the chat on its KV: ${reasonOf(error)}. ${advice}`, 1);
  }
}

/** Upgrades a database from an older layout. @throws {StartupError} if it has a newer one. */
async function checkLayout(kv: Deno.Kv): Promise<void> {
  try {
    await within(START_TIMEOUT_MS, prepareLayout(kv));
  } catch (error) {
    kv.close();
    if (!(error instanceof LayoutError)) {
      throw new StartupError(`Cannot read the layout of the database: ${reasonOf(error)}.`, 1);
    }
    throw new StartupError(error.message, 1);
  }
}
