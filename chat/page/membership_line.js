// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Draws who came and went as one line, however many they are: "Ann joined · Bob, Cid and 98 others left".
 */
import { isSameDay, make, nickname } from "./dom.js";

/** @import { Entry, Row } from "./entry.js" */

/** Users of whom the same is told, the first ones by name.
 * @typedef {{ text: string, nicks: string[], many: number }} Group */

/** Users whom a line names, those of whom its tooltip tells, and what it tells of. */
const MAX_NAMED = 3, MAX_LISTED = 100, MAX_GROUPS = 8;

/** Draws a line. @param {readonly Group[]} groups */
export function drawMembership(groups) {
  const line = make("div.membership", { dir: "auto" });
  groups.forEach(({ text, nicks, many }, index) => {
    const named = nicks.slice(0, many > MAX_NAMED + 1 ? MAX_NAMED - 1 : MAX_NAMED + 1);
    const others = many - named.length;
    /** @type {(Node | string)[]} */
    const names = named.map(nickname);
    if (others > 0) names.push(`${others} others`);
    const separated = names.flatMap((name, at) => {
      if (at === 0) return [name];
      return [at === names.length - 1 ? " and " : ", ", name];
    });
    const title = others > 0 ? nicks.join(", ") : "";
    const part = make("span", { title }, ...separated, ` ${text}`);
    line.append(...index > 0 ? [" · "] : [], part);
  });
  return line;
}

/**
 * Adds who came or went to an earlier line of the same day. Returns false where it needs its own row.
 *
 * @param {Row | undefined} last
 * @param {Entry} entry
 */
export function appendMembership(last, { id, nick, text, time }) {
  if (last?.type !== "membership" || !isSameDay(last.time, time)) return false;
  const groups = last.groups ??= [{ text: last.text, nicks: [last.nick], many: 1 }];
  const group = groups.at(-1);
  if (group?.text === text) {
    group.many++;
    if (group.nicks.length < MAX_LISTED) group.nicks.push(nick);
  } else if (groups.length === MAX_GROUPS) return false;
  else groups.push({ text, nicks: [nick], many: 1 });
  last.element.lastElementChild?.replaceWith(drawMembership(groups));
  last.id = id;
  return true;
}
