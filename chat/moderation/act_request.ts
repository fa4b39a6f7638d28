/**
 * What clients ask for when they act, and whether it has the parts that the act needs, in the right form.
 *
 * Who may do an act, and what it changes, is decided in acting.ts.
 */
import { type ActName, type ActRow, ACTS, MAX_ACT_TEXT_CHARS } from "../base/acts.ts";
import { type Network, networkFrom } from "../base/networks.ts";
import { rejection, type Result } from "../base/rejections.ts";
import type { SoughtUser } from "../nicknames/users.ts";
import { needsForce } from "./networks.ts";

/** An act that a client asks for. The protocol has read it; the room is one that a name leads to. */
export interface ActRequest {
  readonly act: ActName;
  /** Absent: the whole chat. */
  readonly room?: string;
  readonly user?: SoughtUser;
  /** An address or a network, as the client wrote it. */
  readonly network?: string;
  /** The ID of the message. */
  readonly message?: string;
  /** Seconds after which it ends; absent: it does not end by itself. */
  readonly seconds?: number;
  /** The reason or the topic. */
  readonly text?: string;
  readonly count?: number;
  /** Whether a network may be so large that the act would otherwise be refused as a mistake. */
  readonly isForced?: boolean;
}

/** An act whose parts are in order. */
export interface CheckedRequest extends ActRequest {
  readonly text: string;
  /** Empty: the whole chat. */
  readonly room: string;
  readonly banned?: Network;
}

/** Seconds that a ban or a mute may last, at most: ten years. */
const MAX_SECONDS = 3650 * 86_400;

// deno-lint-ignore no-control-regex -- control characters are the subject of this expression
const CONTROL = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/;

/** Returns an act whose parts are those that its row asks for, in the right form; or what is wrong. */
export function checkedRequest(request: ActRequest): Result<{ checked: CheckedRequest }> {
  const { act, room = "", user, network, message } = request;
  const row: ActRow = ACTS[act];
  const text = (request.text ?? "").toWellFormed().trim();
  if (room === "" && !row.isChatWide && row.by !== "member") {
    return rejection.badAct("In which room?");
  }
  if (row.about === "user" && user === undefined && network === undefined) {
    return rejection.badAct("Whom?");
  }
  if (row.about === "message" && message === undefined) return rejection.badAct("Which message?");
  const why = wrongText(text) ?? wrongNumber(row, request);
  if (why !== undefined) return why;
  if (act === "report" && text === "") return rejection.badAct("Give a reason.");
  const checked = { ...request, room, text: row.text === undefined ? "" : text };
  if (network === undefined) return { ok: true, checked };
  const banned = row.takesNetwork && room === "" && user === undefined
    ? bannedNetwork(request)
    : rejection.badAct("Networks can only be banned from the whole chat, by operators.");
  return banned.ok ? { ok: true, checked: { ...checked, banned: banned.network } } : banned;
}

function wrongText(text: string) {
  if ([...text].length > MAX_ACT_TEXT_CHARS) {
    return rejection.badAct(`The text may have at most ${MAX_ACT_TEXT_CHARS} characters.`);
  }
  if (CONTROL.test(text)) return rejection.badAct("The text cannot contain control characters.");
}

function wrongNumber(row: ActRow, { seconds, count }: ActRequest) {
  if (seconds !== undefined) {
    const isTime = Number.isInteger(seconds) && seconds >= 1 && seconds <= MAX_SECONDS;
    if (!isTime || !row.takesTime) return rejection.badTime;
  }
  if (row.count === undefined) return undefined;
  const { name, min, max } = row.count;
  if (count !== undefined && Number.isInteger(count) && count >= min && count <= max) {
    return undefined;
  }
  return rejection.badAct(`The number of ${name} must be from ${min} to ${max}.`);
}

function bannedNetwork({ act, network = "", isForced }: ActRequest): Result<{ network: Network }> {
  const banned = networkFrom(network);
  if (banned === undefined) {
    return rejection.badAct("That is neither an IP address nor a network such as 10.0.0.0/8.");
  }
  if (act === "ban" && needsForce(banned) && !isForced) {
    return rejection.badAct(
      `${banned.text} is a large part of the internet. Force it if you mean it.`,
    );
  }
  return { ok: true, network: banned };
}
