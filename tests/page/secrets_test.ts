/** Which lines the page keeps nowhere. */
import { assertEquals } from "@std/assert";
import { commandList } from "../../chat/page/commands.js";
import { SECRET } from "../../chat/page/secrets.js";

Deno.test("every command that takes a password or secret is one whose line is not kept, and no other is", () => {
  const commands = commandList();
  const secret = commands.filter(({ insert }) => SECRET.test(`${insert} something`));
  const wanted = commands.filter(({ note }) => /password|secret/.test(note));
  assertEquals(secret.map(({ name }) => name), wanted.map(({ name }) => name));
  assertEquals(secret.length, 5);
  for (const line of ["  /OP x", "/Password a b"]) assertEquals(SECRET.test(line), true, line);
  for (const line of ["/option", "op", "x /op y", "/operator"]) {
    assertEquals(SECRET.test(line), false, line);
  }
});
