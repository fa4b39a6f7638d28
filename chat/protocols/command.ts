/** What a row of the table of commands is. The rows stand in commands.ts and moderation_commands.ts. */
import type { ActionKind } from "../base/limits.ts";
import type { Connection } from "../connections/connection.ts";
import type { PlainText } from "./plain_text.ts";

/** The arguments of a command. */
export interface Arguments {
  /** Everything after the command's name and one space. */
  readonly rest: string;
  /** The first word of it; empty if there is none. */
  readonly word: string;
}

/** The outcome of a command: "usage" if its arguments are wrong. */
export type Outcome = void | "usage";

/** A command. */
export interface Command {
  readonly name: string;
  /** The command with its arguments, for the help and the usage reply. */
  readonly usage: string;
  /** A few words after the usage in the usage reply. */
  readonly usageNote?: string;
  /** The lines of its help; missing for the sample's commands, whose help is fixed. */
  readonly help?: readonly string[];
  /** The rate limit that it counts for; a function if that depends on the first word. */
  readonly action: ActionKind | ((word: string) => ActionKind);
  /** Whether an argument is a secret, which must not be sent to the room by mistake. */
  readonly hasPassword?: boolean;
  /** The most bytes of its reply, if that may be large. */
  readonly maxReplyBytes?: number;
  /** Carries out the command and replies. */
  run(plain: PlainText, connection: Connection, args: Arguments): Outcome | Promise<Outcome>;
}
