/**
 * The commands `export`, `import` and `check`: their arguments, their files and what they print.
 *
 * It handles no signal and does not exit. What the commands do to the database stands in chat/care/.
 */
import { parseArgs } from "@std/cli";
import { systemClock } from "../base/clock.ts";
import { retentionFrom } from "../base/limits.ts";
import { check, type Finding } from "../care/check.ts";
import { compactFeed, exportedRows, type Position } from "../care/export.ts";
import {
  Checksum,
  ExportFileError,
  FORMAT,
  type Header,
  headerOf,
  isTrailer,
  linesOf,
  objectOf,
} from "../care/file_lines.ts";
import { importFile, ImportRefused } from "../care/import.ts";
import { LAYOUT, LayoutError, layoutOf } from "../care/layout.ts";
import { openKv } from "./kv.ts";
import { readSettings, type ReadVariable, type Settings } from "./settings.ts";
import { reasonOf, StartupError } from "./startup_error.ts";

/** The commands, with how each is called. */
const USAGES = {
  export: "deno task export --kv PLACE [--room NAME]… [--from TIME] [--until TIME] FILE",
  import: "deno task import --kv PLACE FILE",
  check: "deno task check --kv PLACE [--repair]",
} as const;

/** A command on the data of a chat. */
export type CareCommand = keyof typeof USAGES;

/** Returns whether the first argument of the program is a command. */
export function isCareCommand(word: string | undefined): word is CareCommand {
  return word !== undefined && Object.hasOwn(USAGES, word);
}

/**
 * Runs a command. Returns its exit code.
 *
 * @throws {StartupError} if it cannot be carried out.
 */
export async function runCare(
  command: CareCommand,
  args: readonly string[],
  readVariable: ReadVariable,
): Promise<0 | 1> {
  const { own, file, settings } = readArguments(command, args, readVariable);
  const kv = await openKv(settings);
  try {
    switch (command) {
      case "export":
        return await runExport(kv, file, own, settings);
      case "import":
        return await runImport(kv, file, settings);
      case "check":
        return await runCheck(kv, own.repair === true);
      default:
        return command satisfies never;
    }
  } catch (error) {
    const isExpected = error instanceof ExportFileError || error instanceof ImportRefused ||
      error instanceof LayoutError;
    throw new StartupError(
      isExpected ? error.message : `Cannot ${command}: ${reasonOf(error)}.`,
      1,
    );
  } finally {
    kv.close();
  }
}

/** The arguments that only these commands have. */
interface OwnArguments {
  readonly room: readonly string[];
  readonly from?: string;
  readonly until?: string;
  readonly repair?: boolean;
}

function readArguments(command: CareCommand, args: readonly string[], readVariable: ReadVariable) {
  const others: string[] = [];
  const parsed = parseArgs([...args], {
    string: ["room", "from", "until", "kv", "history", "registered"],
    collect: ["room"],
    boolean: ["repair"],
  });
  const { _: files, room, from, until, repair, ...rest } = parsed;
  for (const [flag, value] of Object.entries(rest)) {
    if (typeof value === "string" || typeof value === "number") others.push(`--${flag}=${value}`);
    else if (value === true) others.push(`--${flag}`);
  }
  const own = { room: room as string[], from, until, repair } as OwnArguments;
  const isExport = command === "export", isCheck = command === "check";
  const isMisplaced = (!isCheck && repair) ||
    (!isExport && (own.room.length > 0 || from !== undefined || until !== undefined));
  const settings = readSettings(others, readVariable);
  if (typeof settings === "string" || isMisplaced || files.length !== (isCheck ? 0 : 1)) {
    throw new StartupError(`Usage: ${USAGES[command]}`, 2);
  }
  return { own, file: String(files[0] ?? ""), settings };
}

function timeOf(flag: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const ms = Date.parse(text);
  if (!Number.isNaN(ms)) return ms;
  throw new StartupError(`${flag} must be a time such as 2026-11-25T08:00:00Z; got "${text}".`, 2);
}

async function runExport(
  kv: Deno.Kv,
  path: string,
  own: OwnArguments,
  settings: Settings,
): Promise<0> {
  const header: Header = {
    parley: "export",
    format: FORMAT,
    layout: await layoutOf(kv) ?? LAYOUT,
    rooms: own.room,
    fromMs: timeOf("--from", own.from, 0),
    untilMs: timeOf("--until", own.until, 8.64e15),
  };
  if (header.layout > LAYOUT) {
    throw new LayoutError(`The database has layout ${header.layout}, newer than ${LAYOUT}.`);
  }
  // Registrations hold the hashes of passwords.
  using file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
  const { checksum, after, end } = await begun(path, header);
  await file.truncate(end);
  await file.seek(end, Deno.SeekMode.Start);
  await compactFeed({
    kv,
    clock: systemClock,
    ...retentionFrom(settings.chat),
    warn: (message) => console.error(message),
  });
  const encoder = new TextEncoder();
  let buffer = "";
  const write = async (line: string) => {
    buffer += `${line}\n`;
    if (buffer.length > 64 * 1024) await flush();
  };
  const flush = async () => {
    for (let bytes = encoder.encode(buffer); bytes.length > 0;) {
      bytes = bytes.subarray(await file.write(bytes));
    }
    buffer = "";
  };
  const add = async (object: object) => {
    const line = JSON.stringify(object);
    checksum.add(line);
    await write(line);
  };
  if (checksum.lines === 0) await add(header);
  for await (const row of exportedRows(kv, header, after)) await add(row);
  const trailer = checksum.trailer();
  await write(JSON.stringify(trailer));
  await flush();
  await file.sync();
  console.log(`Exported ${trailer.rows} rows to ${path}.`);
  return 0;
}

/** Returns where an export that was interrupted goes on; the start for an empty file. */
async function begun(
  path: string,
  header: Header,
): Promise<{ checksum: Checksum; after?: Position; end: number }> {
  const checksum = new Checksum();
  let after: Position | undefined, end = 0;
  for await (const line of linesOf((await Deno.open(path)).readable)) {
    const object = objectOf(line);
    if (line.number === 1) {
      headerOf(line, LAYOUT);
      if (line.text !== JSON.stringify(header)) {
        throw new ExportFileError(`${path} is an export of something else. Name another file.`);
      }
    } else if (isTrailer(object)) {
      throw new ExportFileError(`${path} is a finished export. Name another file.`);
    } else after = object as unknown as Position;
    checksum.add(line.text);
    end = line.end;
  }
  return { checksum, after, end };
}

async function runImport(kv: Deno.Kv, path: string, { chat }: Settings): Promise<0> {
  const rows = await importFile({
    kv,
    nowMs: Date.now(),
    ...retentionFrom(chat),
    open: async () => (await Deno.open(path)).readable,
  });
  console.log(`Imported ${rows} rows from ${path}.`);
  return 0;
}

async function runCheck(kv: Deno.Kv, repair: boolean): Promise<0 | 1> {
  let findings = 0, repaired = 0;
  const report = ({ what, isRepaired }: Finding) => {
    findings++;
    if (isRepaired) repaired++;
    console.log(isRepaired ? `${what} (repaired)` : what);
  };
  const rows = await check(kv, repair, report);
  console.log(`Read ${rows} rows: ${findings} findings, ${repaired} repaired.`);
  return findings === repaired ? 0 : 1;
}
