/**
 * The lines of an export: the first one tells the format, each further one is a row of the database,
 * and the last one tells how many there are and their checksum.
 *
 * It knows neither files nor the database.
 */
import { createHash } from "node:crypto";
import type { ExportedForm } from "./treatments.ts";

/** The format of the file. A program refuses a newer one. */
export const FORMAT = 1;

/** Bytes of a line at most: a value in KV has 64 KiB, and JSON may need six bytes for one. */
const MAX_LINE_BYTES = 1024 * 1024;

/** What an export holds. */
export interface Selection {
  /** The names of the rooms; empty: everything. */
  readonly rooms: readonly string[];
  /** Unix milliseconds from which on, and before which, messages and acts were sent. */
  readonly fromMs: number;
  readonly untilMs: number;
}

/** The first line. */
export interface Header extends Selection {
  readonly parley: "export";
  readonly format: number;
  readonly layout: number;
}

/** A row of the database. */
export interface Row {
  readonly form: ExportedForm;
  readonly key: readonly (string | number)[];
  readonly value: unknown;
  /** Unix milliseconds until which the row is kept; absent: see import.ts. */
  readonly until?: number;
}

/** The last line. */
export interface Trailer {
  readonly rows: number;
  readonly sha256: string;
}

/** A file that is damaged, newer, or no export. The message is one line, with the line's number. */
export class ExportFileError extends Error {}

/** A checksum of lines, in order. */
export class Checksum {
  readonly #hash = createHash("sha256");
  /** How many lines it covers. */
  lines = 0;

  /** Adds a line, without its end. */
  add(line: string): void {
    this.#hash.update(line).update("\n");
    this.lines++;
  }

  /** Returns the last line of a file with the lines that were added. */
  trailer(): Trailer {
    return { rows: this.lines - 1, sha256: this.#hash.copy().digest("hex") };
  }
}

/** A complete line of a file. */
export interface FileLine {
  readonly text: string;
  /** Counted from 1. */
  readonly number: number;
  /** Bytes of the file up to the end of the line. */
  readonly end: number;
}

/**
 * Yields the lines of a file; a last one without an end is left out.
 *
 * @throws {ExportFileError} if a line is too long or not UTF-8.
 */
export async function* linesOf(file: ReadableStream<Uint8Array>): AsyncGenerator<FileLine> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = new Uint8Array(), number = 0, end = 0;
  for await (const chunk of file) {
    const bytes = new Uint8Array(rest.length + chunk.length);
    bytes.set(rest);
    bytes.set(chunk, rest.length);
    let from = 0;
    for (let to; (to = bytes.indexOf(10, from)) >= 0; from = to + 1) {
      number++;
      end += to + 1 - from;
      let text;
      try {
        text = decoder.decode(bytes.subarray(from, to));
      } catch {
        throw new ExportFileError(`Line ${number} is damaged: it is not UTF-8.`);
      }
      yield { text, number, end };
    }
    rest = bytes.slice(from);
    if (rest.length > MAX_LINE_BYTES) {
      throw new ExportFileError(`Line ${number + 1} is damaged: it is too long.`);
    }
  }
}

/** Returns the object that a line holds. @throws {ExportFileError} if it holds none. */
export function objectOf({ text, number }: FileLine): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
  } catch {
    // The same answer.
  }
  throw new ExportFileError(`Line ${number} is damaged: it is not a JSON object.`);
}

/** Returns the header in the first line. @throws {ExportFileError} if it is none, or a newer one. */
export function headerOf(line: FileLine, layout: number): Header {
  const header = objectOf(line) as unknown as Header;
  if (header.parley !== "export") throw new ExportFileError("Line 1 is not that of an export.");
  if (!(header.format <= FORMAT && header.layout <= layout)) {
    throw new ExportFileError(
      `Line 1: the file has format ${header.format} and layout ${header.layout}, newer than this ` +
        `version of Parley knows (${FORMAT} and ${layout}).`,
    );
  }
  return header;
}

/** Returns whether a line is the last one of a file. */
export function isTrailer(object: Record<string, unknown>): boolean {
  return "sha256" in object;
}
