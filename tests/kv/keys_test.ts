/** Keys: each function of keys.ts makes the form that key_forms.ts and the documentation list. */
import { assert, assertEquals } from "@std/assert";
import { KEYS } from "../../chat/kv/key_forms.ts";
import * as keys from "../../chat/kv/keys.ts";
import { PROJECT } from "../support/processes.ts";

/** One key of each form; the parts that vary are named as in the form. */
const SAMPLES: Readonly<Record<keyof typeof KEYS, Deno.KvKey>> = {
  tableRow: keys.tableRowKey("<connection>", keys.usernameSortKey("<nickname>")),
  tableMirror: keys.tableMirrorKey(keys.roomSortKey("<room>"), "<connection>"),
  claim: keys.claimKey("<claim>"),
  roomCount: keys.roomCountKey("<room>"),
  roomLook: keys.roomLookKey("<look>"),
  connection: keys.connectionKey("<instance>", "<connection>"),
  resume: keys.resumeKey("<token hash>"),
  takeover: keys.takeoverKey("<instance>", "<connection>", "<era>"),
  account: keys.accountKey("<folded nickname>"),
  user: keys.userKey("<user>"),
  readMarker: keys.readMarkerKey("<user>", "with", "<room or other user>"),
  conversation: keys.conversationKey("<user>", "<other user>"),
  passwordAttempts: keys.passwordAttemptsKey("<folded nickname>"),
  registrationAttempts: keys.registrationAttemptsKey("<address hash>"),
  lastAct: keys.lastActKey(7),
  roomRules: keys.roomRulesKey("<room>"),
  privateRoom: keys.privateRoomKey("<room>"),
  standing: keys.standingKey("<room>", "<user>"),
  bannedNetwork: keys.bannedNetworkKey("<network>"),
  ignored: keys.ignoredKey("<user>"),
  openedRooms: keys.openedRoomsKey("<user>"),
  lease: keys.leaseKey("<instance>"),
  commitGuard: keys.commitGuardKey("<instance>", 7),
  heartbeat: keys.heartbeatKey("<instance>"),
  shards: keys.SHARDS_KEY,
  feedRow: keys.feedRowKey(7, "<versionstamp>"),
  notify: keys.notifyKey(7),
  notifyInstances: keys.NOTIFY_INSTANCES_KEY,
  compacted: keys.compactedKey(7),
  historyRow: keys.historyRowKey(["own", "<name>"], "<ID>"),
  historyIndex: keys.historyIndexKey(["own", "<name>"], "<event ID>"),
  historyBytes: keys.HISTORY_BYTES_KEY,
  streamBytes: keys.streamBytesKey(["own", "<name>"]),
  historyRemoval: keys.HISTORY_REMOVAL_KEY,
  historyRemoving: keys.HISTORY_REMOVING_KEY,
  passed: keys.PASSED_KEY,
  evicted: keys.evictedKey(["own", "<name>"]),
};

/** The parts of a form, each as the texts of which one stands there. */
function partsOf(form: string): string[][] {
  return form.slice(1, -1).split(", ").map((part) => part.split(" | "));
}

/** The part of a key as a form spells it. */
function spelled(part: Deno.KvKeyPart): string {
  if (part === 7) return "<shard>";
  const text = String(part);
  return text.startsWith("<") ? text : `"${text}"`;
}

Deno.test("keys: each function makes the form that the table of forms lists", () => {
  for (const [name, { key: form }] of Object.entries(KEYS)) {
    const key = SAMPLES[name as keyof typeof KEYS];
    const parts = partsOf(form);
    assertEquals(key.length, parts.length, name);
    for (const [i, part] of key.entries()) {
      const isListed = parts[i]!.includes(spelled(part)) ||
        (parts[i]![0] === "<stream kind>" && part === "own");
      assert(isListed, `${name}: part ${i} is ${spelled(part)}, the form is ${form}`);
    }
  }
});

Deno.test("keys: no two forms are the same", () => {
  const forms = Object.values(KEYS).map(({ key }) => key);
  assertEquals(new Set<string>(forms).size, forms.length);
});

Deno.test("keys: every exported key function and key has a form", () => {
  const named = Object.keys(keys).filter((name) =>
    /(Key|_KEY)$/.test(name) && !/SortKey/.test(name)
  );
  assertEquals(named.length, Object.keys(KEYS).length, named.join(", "));
});

Deno.test("keys: ARCHITECTURE.md, once written, lists exactly these forms", async () => {
  const document = await Deno.readTextFile(new URL("chat/docs/ARCHITECTURE.md", PROJECT))
    .catch((error) => {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
  if (document === undefined) return;
  // In a table of Markdown a bar stands behind a backslash.
  const rows = document.split("\n").filter((line) => line.startsWith("| `["));
  const listed = rows.map((line) => /^\| `(.*?)`\s*\|/.exec(line)?.[1]?.replaceAll("\\|", "|"));
  assertEquals(
    listed.toSorted(),
    Object.values<{ key: string }>(KEYS).map(({ key }) => key).toSorted(),
  );
});

Deno.test("keys: a selector of feed rows begins after one versionstamp and includes the other", async () => {
  using kv = await Deno.openKv(":memory:");
  for (const stamp of ["0a", "0b", "0c", "0d"]) await kv.set(keys.feedRowKey(0, stamp), stamp);
  const rows = await Array.fromAsync(kv.list(keys.feedRowsBetween(0, "0a", "0c")));
  assertEquals(rows.map(({ value }) => value), ["0b", "0c"]);
  const open = await Array.fromAsync(kv.list(keys.feedRowsBetween(0, "0b")));
  assertEquals(open.map(({ value }) => value), ["0c", "0d"]);
});
