/** Clients of a real server. */
import { ChatClient } from "../../chat/client/client.js";
import type { ChatEvent, ClientOptions, EventOf } from "../../chat/client/client.js";
import type { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";

/** A client, and the events that it has delivered. */
export interface Connected extends AsyncDisposable {
  readonly client: ChatClient;
  readonly events: ChatEvent[];
  /** Returns the first event of a type that meets a condition, also one that was delivered already. */
  next<T extends ChatEvent["type"]>(
    type: T,
    isMeant?: (event: EventOf<T>) => boolean,
  ): Promise<EventOf<T>>;
}

/** Connects a client, which is closed when the test ends. */
export function connect(
  server: TestServer,
  nick: string,
  options: Partial<ClientOptions> = {},
): Connected {
  const client = new ChatClient(server.url, { nick, ...options });
  const events: ChatEvent[] = [];
  client.on("*", (event) => events.push(event));
  return {
    client,
    events,
    async next<T extends ChatEvent["type"]>(
      type: T,
      isMeant: (event: EventOf<T>) => boolean = () => true,
    ) {
      const find = () =>
        events.find((event) => event.type === type && isMeant(event as EventOf<T>));
      await eventually(() => find() !== undefined, `an event of the type ${type}`);
      return find() as EventOf<T>;
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** Returns what a call resolves to. */
export function answer<T>(call: Promise<T>): Promise<T> {
  return withDeadline(call, "an answer");
}
