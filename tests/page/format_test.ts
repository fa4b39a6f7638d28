/**
 * The formatter of messages, with as much of a document as it needs: elements that hold texts and
 * elements. What a browser makes of it is tested in tests/browser/.
 */
import { assert, assertEquals } from "@std/assert";

/** An element of the document below. */
class FakeElement {
  readonly nodeType: number = 1;
  readonly childNodes: (FakeElement | FakeText)[] = [];
  readonly style = { setProperty() {} };
  readonly classList = { toggle: () => true };
  readonly #attributes = new Map<string, string>();
  onclick?: () => void;

  constructor(readonly tagName: string) {}

  set textContent(text: string) {
    this.childNodes.splice(0, Infinity, new FakeText(text));
  }

  get textContent(): string {
    return this.childNodes.map(({ textContent }) => textContent).join("");
  }

  append(...nodes: (FakeElement | string)[]) {
    for (const node of nodes) {
      this.childNodes.push(typeof node === "string" ? new FakeText(node) : node);
    }
  }

  setAttribute(name: string, value: string) {
    this.#attributes.set(name, value);
  }

  getAttribute(name: string) {
    return this.#attributes.get(name) ?? null;
  }

  click() {
    this.onclick?.();
  }
}

/** A text of the document below. */
class FakeText {
  readonly nodeType = 3;
  readonly childNodes = [];

  constructor(readonly textContent: string) {}
}

Object.assign(globalThis, {
  document: {
    querySelectorAll: () => [],
    createElement: (tag: string) => new FakeElement(tag.toUpperCase()),
  },
  Element: FakeElement,
  Node: { TEXT_NODE: 3 },
});

// The module reads the document when it is loaded.
const { format, sourceOf } = await import("../../chat/page/format.js");

type Formatted = ReturnType<typeof format>;

/** Formats a text below one element. */
function formatted(text: string): FakeElement {
  const element = new FakeElement("DIV");
  element.append(...format(text) as unknown as Parameters<FakeElement["append"]>);
  return element;
}

/** Returns what is copied when all of it is selected. */
function copyOf(element: FakeElement): string {
  return sourceOf(element as unknown as Exclude<Formatted[number], string>);
}

/** Returns the elements below one, in order. */
function elementsIn(element: FakeElement): FakeElement[] {
  return element.childNodes.flatMap((each) =>
    each instanceof FakeElement ? [each, ...elementsIn(each)] : []
  );
}

/** Describes the elements that a text becomes. */
function described(text: string): string[] {
  return elementsIn(formatted(text)).map(({ tagName, textContent }) =>
    `${tagName.toLowerCase()}: ${textContent}`
  );
}

/** Parts of texts in which each mark may meet each other one. */
const PARTS = [
  ..."*_`>-\n @.()<&\t",
  ..."**,__,```,```ts\n,\n```\n,> ,\n> ,- ,1. ,<b>,&amp;,x,word,שלום,\u202e,👍,é".split(","),
  ..."https://a.example/,HTTP://,www.,www.a.example,mailto:,mailto:a@b,javascript:alert(1)".split(
    ",",
  ),
  "data:text/html,x",
];

Deno.test("format draws code, bold, italics, quotes, lists and links", () => {
  assertEquals(described("`a *b*` *c* **d** _e_"), ["code: a *b*", "b: c", "b: d", "em: e"]);
  assertEquals(described("> quoted *too*"), ["span: quoted too", "b: too"]);
  assertEquals(described("- one\n2. two"), ["span: - one", "span: 2. two"]);
  assertEquals(described("```ts\nlet x;\n```"), ["pre: let x;", "code: let x;"]);
  assertEquals(described("www.a.example, mailto:a@b.example"), [
    "a: www.a.example",
    "a: mailto:a@b.example",
  ]);
});

Deno.test("format leaves alone what only looks like marks", () => {
  const texts = [
    "snake_case_name",
    "2*3*4",
    "x * a *",
    "a * b",
    "`",
    "```",
    "```\nopen",
    "mailto:a",
  ];
  for (const text of texts) assertEquals(described(text), [], text);
  for (const text of ["javascript:alert(1)", "<b>x</b>", "&lt;", "data:text/html,x"]) {
    assertEquals(described(text), [], text);
    assertEquals(formatted(text).textContent, text);
  }
});

Deno.test("whatever is typed, a copy of what format draws is the same, and links lead to the web or mail", () => {
  let seed = 15;
  const random = (many: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (seed >>> 8) % many;
  };
  const known = ["A", "B", "BUTTON", "CODE", "EM", "PRE", "SPAN"];
  let marked = 0;
  for (let n = 0; n < 20_000; n++) {
    const typed = Array.from({ length: random(30) }, () => PARTS[random(PARTS.length)]).join("");
    const root = formatted(typed);
    assertEquals(copyOf(root), typed);
    const elements = elementsIn(root);
    marked += elements.length;
    for (const each of elements) {
      assert(known.includes(each.tagName), `${each.tagName} from ${JSON.stringify(typed)}`);
      if (each.tagName !== "A") continue;
      const { href } = each as FakeElement & { href: string };
      assert(/^(https?:|mailto:)/i.test(href), `${href} from ${JSON.stringify(typed)}`);
    }
  }
  assert(marked > 20_000, `the texts have too few marks: ${marked}`);
});

Deno.test("a long block of code is folded, and its button is not copied", () => {
  const typed = ["```", ...Array.from({ length: 40 }, (_, n) => `line ${n}`), "```", "end"].join(
    "\n",
  );
  const root = formatted(typed);
  const [button] = elementsIn(root).filter(({ tagName }) => tagName === "BUTTON");
  assertEquals(button?.textContent, "Show all 40 lines");
  assertEquals(copyOf(root), typed);
});

Deno.test("the time of format grows no faster than the text, whatever it repeats", () => {
  const repeated = [
    ..."*,**,***,_,__,`,```,```\n,> ,>,- ,\n,(,@,\t".split(","),
    ..."*a,*a ,**a,**a ,_a,_a ,*_,*_a,`a,a*,a_,*a*b,_a_b,**a*,*a**".split(","),
    ..."www.,www.(,www.((,www.a.,http://,https://a.b/(,mailto:,mailto:a,@a,a@b,👍 ".split(","),
    ..."```\n\n,```a\nx\n,```\nx\n```\n,> *,- _,`*_".split(","),
  ];
  const timeOf = (text: string) => {
    const start = performance.now();
    format(text);
    return performance.now() - start;
  };
  // Eight times the text takes 64 times as long where the time is quadratic, and that each time. What
  // the machine does besides is not there each time.
  const isSlow = (part: string) => {
    const [short, long] = [8_192, 65_536].map((many) => timeOf(part.repeat(many / part.length)));
    return long! > 20 && long! > 24 * short!;
  };
  const slow = repeated.filter((part) => Array.from({ length: 8 }).every(() => isSlow(part)));
  assertEquals(slow, []);
});
