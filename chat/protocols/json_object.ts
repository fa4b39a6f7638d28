/**
 * Reads one JSON object from a line, and refuses what two readers could understand differently.
 *
 * What the object means is not known here.
 */
import { reject, type Rejection } from "../base/rejections.ts";

/** The deepest nesting: no request needs more. */
const MAX_DEPTH = 16;

/**
 * Returns the JSON object of a line, and the reason why it is refused, if it is. The object is missing
 * where none of its fields can be trusted.
 */
export function readObject(line: string): { value?: object; rejection?: Rejection } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { rejection: notAnObject };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { rejection: notAnObject };
  }
  const { keys, depth } = shapeOf(line);
  if (depth > MAX_DEPTH) return { value, rejection: tooDeep };
  // Of two equal keys, JSON.parse keeps the last one, another reader the first one: so no field of the
  // object, not even its `ref`, has a certain value.
  if (keys !== Object.keys(value).length) return { rejection: duplicateKey };
  return { value };
}

const notAnObject = reject("malformed", "Not a JSON object.");
const tooDeep = reject("malformed", `Nested more than ${MAX_DEPTH} deep.`);
const duplicateKey = reject("malformed", "Duplicate key.");

/** Returns the number of keys in the outermost object, duplicates included, and the nesting depth. */
function shapeOf(json: string): { keys: number; depth: number } {
  let keys = 0, depth = 0, deepest = 0;
  for (let i = 0; i < json.length; i++) {
    switch (json.charCodeAt(i)) {
      case 0x22: // A string: skips to its end, over escaped characters.
        for (i++; json.charCodeAt(i) !== 0x22; i++) if (json.charCodeAt(i) === 0x5c) i++;
        break;
      case 0x7b:
      case 0x5b:
        if (++depth > deepest) deepest = depth;
        break;
      case 0x7d:
      case 0x5d:
        depth--;
        break;
      case 0x3a:
        if (depth === 1) keys++;
    }
  }
  return { keys, depth: deepest };
}
