/**
 * What an act changes: the rules of its room, or the standing of the user that it is about.
 *
 * The instance that carries the act out stores the result, and every instance that has the room in
 * memory changes its copy in the same way. This file reads and stores nothing.
 */
import { actNameFrom } from "../base/acts.ts";
import type { RoomEvent } from "../feed/events.ts";
import { NO_END, type RoomRules, type Sanction, type Standing } from "../kv/moderation_values.ts";

/** The event of an act, or what will be one. */
export type ActEvent = Pick<
  RoomEvent,
  "target" | "room" | "nick" | "text" | "time" | "to" | "until" | "count"
>;

/** Returns the rules of a room after an act in it. */
export function rulesAfter(rules: RoomRules, event: ActEvent): RoomRules {
  const { text, to, until = NO_END, count = 0 } = event;
  const act = actNameFrom(event.target ?? "");
  switch (act) {
    case "topic":
      return { ...rules, topic: text };
    case "slow":
      return { ...rules, slow: count };
    case "lock":
    case "unlock":
      return { ...rules, isLocked: act === "lock" };
    case "private":
    case "public":
      return { ...rules, isPrivate: act === "private" };
    case "mute":
      return to === undefined ? { ...rules, mutedUntil: until } : rules;
    case "unmute":
      return to === undefined ? { ...rules, mutedUntil: 0 } : rules;
    case "mod":
      if (to === undefined) return rules;
      return { ...rules, moderators: new Map([...rules.moderators, [to.user, to.nick]]) };
    case "unmod": {
      const moderators = new Map(rules.moderators);
      moderators.delete(to?.user ?? "");
      return { ...rules, moderators };
    }
    case "kick":
    case "ban":
    case "unban":
    case "invite":
    case "purge":
    case "delete":
    case "report":
    // A newer version of the program knows it.
    // falls through
    case undefined:
      return rules;
    default:
      return act satisfies never;
  }
}

/** Returns the standing of a user after an act about the user. */
export function standingAfter(standing: Standing, event: ActEvent): Standing {
  const { text: reason, nick: by, time: at, to, until = NO_END } = event;
  const nick = to?.nick ?? standing.nick;
  const sanction: Sanction = { until, reason, by, at };
  const act = actNameFrom(event.target ?? "");
  switch (act) {
    case "kick":
      return { ...standing, nick, kickedAt: at };
    case "ban":
      return { ...standing, nick, ban: sanction, isInvited: false };
    case "unban":
      return { ...standing, ban: undefined };
    case "mute":
      return { ...standing, nick, mute: sanction };
    case "unmute":
      return { ...standing, mute: undefined };
    case "invite":
      return { ...standing, nick, isInvited: true };
    case "topic":
    case "slow":
    case "lock":
    case "unlock":
    case "private":
    case "public":
    case "purge":
    case "delete":
    case "mod":
    case "unmod":
    case "report":
    case undefined:
      return standing;
    default:
      return act satisfies never;
  }
}
