/** `chat.v1` at the wire: PROTOCOL.md replayed, and what it says of bad input. */
import { assert, assertEquals } from "@std/assert";
import { House, type Person, PROJECT } from "./house.ts";

/** Somebody who speaks `chat.v1`: each line of a frame counts as a frame. */
async function connect(house: House): Promise<Person> {
  return await house.connect("", "chat.v1");
}

/** Ids, tokens and times are different each time: they are numbered in the order of their coming. */
class Names {
  readonly #ids = new Map<string, string>();
  readonly #tokens = new Map<string, string>();

  in(line: string): string {
    const numbered = (names: Map<string, string>, kind: string) => (found: string) => {
      if (!names.has(found)) names.set(found, `"<${kind} ${names.size}>"`);
      return names.get(found)!;
    };
    return line
      .replace(/"time":\d+/g, '"time":"<time>"')
      .replace(/"[\w-]{43}"/g, numbered(this.#tokens, "token"))
      .replace(/"[a-u][0-9a-f]{4,22}"/g, numbered(this.#ids, "id"));
  }

  /** What stands for something in the document, as it is here. */
  static translate(line: string, from: Names, to: Names): string {
    for (const kind of ["#ids", "#tokens"] as const) {
      const [theirs, ours] = kind === "#ids" ? [from.#ids, to.#ids] : [from.#tokens, to.#tokens];
      for (const [text, name] of theirs) {
        const here = [...ours].find(([, other]) => other === name);
        if (here !== undefined) line = line.replaceAll(text, here[0]);
      }
    }
    return line;
  }
}

Deno.test("every session in PROTOCOL.md is what really happens", async () => {
  const text = await Deno.readTextFile(new URL("chat/PROTOCOL.md", PROJECT));
  const sessions = [...text.matchAll(/<!-- replayed(: [^>]*)? -->\n\n```text\n([^]*?)```/g)];
  assert(sessions.length >= 6, `${sessions.length} sessions`);
  let house: House | undefined, written = new Names(), seen = new Names();
  let last: Person | undefined;
  for (const [, note, session] of sessions) {
    const resumes = session!.includes('"resume"');
    if (!resumes) {
      await house?.[Symbol.asyncDispose]();
      house = await House.open();
      written = new Names();
      seen = new Names();
    }
    const person = await connect(house!);
    for (const line of session!.trimEnd().split("\n")) {
      const rest = line.slice(2);
      if (line.startsWith("> ")) {
        written.in(rest);
        person.say(Names.translate(rest, written, seen));
      } else {
        assert(line.startsWith("< "), `neither a request nor a reply: ${line}`);
        assertEquals(seen.in(await person.next()), written.in(rest), `${note ?? ""} ${line}`);
      }
    }
    assertEquals(person.waiting, 0, "more came than is written");
    if (resumes) assertEquals((await last!.closed).code, 4001);
    last = person;
  }
  await house?.[Symbol.asyncDispose]();
});
