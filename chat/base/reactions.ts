/**
 * The emoji with which users react to messages, and the form in which a message holds them.
 *
 * A message holds them as one short text, because names of fields would double its row. This file decides
 * neither who may react nor who is told.
 */

/** The emoji with which users can react. Append only: rows name them by their places. */
export const REACTIONS = ["👍", "❤️", "😂", "🎉", "😮", "😢"] as const;

/** An emoji with which users can react. */
export type Reaction = typeof REACTIONS[number];

/** Reactions that one message holds, of all users and emoji. */
export const MAX_REACTIONS = 200;

/** How many users reacted with an emoji. `own`: the reader is one of them. */
export interface ReactionCount {
  readonly emoji: Reaction;
  readonly count: number;
  readonly own?: true;
}

/** Returns whether a user has reacted with an emoji. */
export function hasReaction(reactions: string | undefined, user: string, emoji: Reaction): boolean {
  return partsOf(reactions).includes(partOf(user, emoji));
}

/** Returns whether a message holds as many reactions as it may. */
export function isFull(reactions: string | undefined): boolean {
  return partsOf(reactions).length >= MAX_REACTIONS;
}

/**
 * Returns the reactions of a message with one more, or with one less; `undefined`: it has none. More than
 * {@linkcode MAX_REACTIONS} are not added.
 */
export function withReaction(
  reactions: string | undefined,
  user: string,
  emoji: Reaction,
  isAdded: boolean,
): string | undefined {
  const part = partOf(user, emoji);
  const others = partsOf(reactions).filter((each) => each !== part);
  const all = isAdded && others.length < MAX_REACTIONS ? [...others, part] : others;
  return all.length === 0 ? undefined : all.join(" ");
}

/** Returns how many users have reacted with an emoji. */
export function countOf(reactions: string | undefined, emoji: Reaction): number {
  const start = partOf("", emoji);
  return partsOf(reactions).filter((each) => each.startsWith(start)).length;
}

/** Returns how many users reacted with each emoji, as a reader sees it. */
export function countsOf(reactions: string | undefined, reader: string): ReactionCount[] {
  const counts = REACTIONS.map(() => 0);
  const own = new Set<number>();
  for (const part of partsOf(reactions)) {
    const colon = part.indexOf(":");
    const place = Number(part.slice(0, colon));
    counts[place]!++;
    if (part.slice(colon + 1) === reader) own.add(place);
  }
  return REACTIONS.flatMap((emoji, place) => {
    const count = counts[place]!;
    if (count === 0) return [];
    return [own.has(place) ? { emoji, count, own: true } : { emoji, count }];
  });
}

/** Returns the emoji in a text; `undefined` if it is none with which users can react. */
export function reactionFrom(text: string): Reaction | undefined {
  return REACTIONS.find((each) => each === text);
}

function partsOf(reactions: string | undefined): string[] {
  return reactions === undefined ? [] : reactions.split(" ");
}

function partOf(user: string, emoji: Reaction): string {
  return `${REACTIONS.indexOf(emoji)}:${user}`;
}
