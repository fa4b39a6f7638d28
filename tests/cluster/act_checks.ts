/**
 * What must hold about acts of moderation in a simulated run: after an act, the user that it is about says
 * nothing in that room until another act or a join allows it, and the record has each act once.
 *
 * That each session receives the acts in their place is compared with the other events (session_log.ts).
 */
import { assertEquals } from "@std/assert";
import { authorOf, type RoomEvent } from "../../chat/feed/events.ts";
import type { FeedLog } from "./feed_log.ts";
import { ROOMS } from "./people.ts";
import { storedEvents } from "./end_checks.ts";

/** What holds for a user in a room. Each names the act by its event ID; absent: it does not hold. */
interface Sanctions {
  banned?: string;
  muted?: string;
  kicked?: string;
}

/** Returns every act in a room: who did what to whom, with the text and the time. */
function actsIn(log: FeedLog, room?: string): string[] {
  return log.entries.filter(({ event }) =>
    event.kind === "act" && !event.isQuiet && (room === undefined || event.room === room)
  ).map(({ event }) => described(event));
}

function described({ room, nick, target, to, text, time }: RoomEvent): string {
  return [room, nick, target, to?.user, text, time].join("|");
}

/**
 * Checks that no user writes or enters against an act. Operators are free to, and acts with an end
 * are left out: clocks differ. Returns how many acts against users were checked.
 */
export function checkObeyed(log: FeedLog, operators: ReadonlySet<string>): number {
  const found = new Map<string, Sanctions>();
  let count = 0;
  for (const { eventId, event } of log.entries) {
    const { kind, room, to, isQuiet } = event;
    if (room === "") continue;
    const of = (user: string) => {
      const name = `${user} ${room}`;
      let sanctions = found.get(name);
      if (sanctions === undefined) found.set(name, sanctions = {});
      return sanctions;
    };
    const author = authorOf(event);
    const what = `${eventId}: ${kind} of user ${author} in ${room}`;
    switch (kind) {
      case "act":
        if (isQuiet || to === undefined) break;
        count++;
        apply(of(to.user), event, eventId);
        break;
      case "message":
      case "action":
      case "edit":
      case "reaction":
        if (operators.has(event.id)) break;
        for (const [act, id] of Object.entries(of(author))) {
          assertEquals(id, undefined, `${what}: the user is ${act}`);
        }
        break;
      case "join":
      case "nick": {
        const user = to?.user ?? author;
        if (kind === "nick" && user === author) break;
        of(user).kicked = undefined;
        if (operators.has(event.id)) of(user).banned = undefined;
        assertEquals(of(user).banned, undefined, `${what}: ${user} is banned`);
        break;
      }
      case "leave":
        // The session stays, and speaks for another user.
        if (to === undefined) break;
        of(to.user).kicked = undefined;
        assertEquals(of(to.user).banned, undefined, `${what}: ${to.user} is banned`);
        break;
      case "delete":
      case "read":
      case "away":
      case "direct":
      case "resume":
        break;
      default:
        kind satisfies never;
    }
  }
  return count;
}

function apply(sanctions: Sanctions, { target, until }: RoomEvent, eventId: string): void {
  const held = until === undefined ? eventId : undefined;
  if (target === "kick") sanctions.kicked = eventId;
  else if (target === "ban") sanctions.banned = held;
  else if (target === "mute") sanctions.muted = held;
  else if (target === "unban") sanctions.banned = undefined;
  else if (target === "unmute") sanctions.muted = undefined;
}

/** Checks that the records of all rooms, and that of the whole chat, have each act once, in order. */
export async function checkRecord(kv: Deno.Kv, log: FeedLog): Promise<void> {
  const recorded = async (name: string) =>
    (await storedEvents(kv, ["acts", name])).map(({ event }) => described(event));
  for (const room of ROOMS) {
    assertEquals(await recorded(room), actsIn(log, room), `the record of ${room}`);
  }
  assertEquals(await recorded(""), actsIn(log), "the record of the whole chat");
}
