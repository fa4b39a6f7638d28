/**
 * What the export does with each form of key. A new form does not compile until it has a row here.
 *
 * It says nothing of how rows are checked: see check.ts.
 */
import { KEYS } from "../kv/key_forms.ts";

/**
 * - `exported`: the export holds the row.
 * - `derived`: the import makes the row from exported ones.
 * - `session`: belongs to sessions and instances, which end; or bounds guesses for a while.
 * - `feed`: belongs to the feed, which a database begins for itself.
 */
export type Treatment = "exported" | "derived" | "session" | "feed";

/** A form of key, by its name in the table of keys. */
export type FormName = keyof typeof KEYS;

/** The treatment of every form. */
export const TREATMENTS = {
  tableRow: "session",
  tableMirror: "session",
  claim: "derived",
  roomCount: "session",
  roomLook: "exported",
  connection: "session",
  resume: "session",
  passed: "session",
  takeover: "session",
  account: "exported",
  user: "exported",
  readMarker: "exported",
  conversation: "exported",
  passwordAttempts: "session",
  registrationAttempts: "session",
  lastAct: "feed",
  roomRules: "exported",
  privateRoom: "derived",
  standing: "exported",
  bannedNetwork: "exported",
  ignored: "exported",
  openedRooms: "session",
  lease: "session",
  commitGuard: "session",
  heartbeat: "session",
  shards: "feed",
  layout: "derived",
  importing: "session",
  feedRow: "feed",
  notify: "feed",
  notifyInstances: "session",
  compacted: "feed",
  historyRow: "exported",
  historyIndex: "derived",
  historyBytes: "derived",
  streamBytes: "derived",
  historyRemoval: "session",
  historyRemoving: "session",
  evicted: "exported",
} as const satisfies Readonly<Record<FormName, Treatment>>;

/** The names of the exported forms, in the order of the file. */
export const EXPORTED = (Object.keys(TREATMENTS) as FormName[])
  .filter((name): name is ExportedForm => TREATMENTS[name] === "exported");

/** A form that the export holds. */
export type ExportedForm = {
  [Name in FormName]: typeof TREATMENTS[Name] extends "exported" ? Name : never;
}[FormName];

/** The kinds of stream that are exported: the others only serve to resume sessions. */
export const EXPORTED_KINDS = ["log", "people", "conversation", "acts"] as const;

/** Returns the first words of the keys of a form. */
export function wordsOf(form: FormName): readonly string[] {
  const [first] = KEYS[form].key.slice(1, -1).split(", ");
  return first!.split(" | ").map((word) => word.slice(1, -1));
}

/** Returns the prefixes under which the rows of an exported form stand. */
export function prefixesOf(form: ExportedForm): Deno.KvKey[] {
  const words = form === "historyRow" ? EXPORTED_KINDS : wordsOf(form);
  return words.map((word) => [word]);
}
