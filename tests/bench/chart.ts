/**
 * Draws results as SVG. One chart has a bar for each load and peer: its ratio to the base peer. The
 * other shows how the CPU time of a message grows. Both have logarithmic scales.
 *
 * The charts are readable on light and dark pages. They contain measured values only.
 */
import { GROWTH, ROOM_SIZES, SILENT_ROOMS } from "./loads.ts";
import { formatNumber, type Outcomes } from "./report.ts";
import { BASE } from "./peers.ts";

const LEFT = 110, RIGHT = 60, BAR = 9, GAP = 14, TOP = 58, WIDTH = 760;
/** Pixels between a value and its double. */
const DOUBLING = 34;
const COLOURS = [
  "#1f77b4",
  "#17a2a2",
  "#7aa6d6",
  "#4c5fa8",
  "#e08a2e",
  "#c4564a",
  "#8a8f98",
  "#9467bd",
  "#5a9e4b",
  "#b5832a",
  "#d16ba5",
];

const STYLE = `
  text { font: 11px system-ui, sans-serif; fill: #24292f }
  .n { font-size: 8px }
  .axis { stroke: #8c959f; stroke-width: 1 }
  polyline { fill: none; stroke-width: 1.5 }
  .grid { stroke: #8c959f; stroke-width: .5; opacity: .4 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
`;

const escapeXml = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Returns the chart of ratios: a bar for each load and peer. */
export function ratioChart(outcomes: Outcomes): string {
  const peers = outcomes.peers.filter(({ name }) => name !== BASE);
  const rows = outcomes.loads.map((load) => ({
    name: load.name,
    bars: peers.flatMap(({ name }, i) => {
      const ratio = outcomes.ratio(load, name, BASE);
      return Number.isFinite(ratio) && ratio > 0 ? [{ ratio, colour: COLOURS[i]! }] : [];
    }),
  })).filter(({ bars }) => bars.length > 0);
  const logs = rows.flatMap(({ bars }) => bars.map(({ ratio }) => Math.log2(ratio)));
  const least = Math.floor(Math.min(-1, ...logs)), most = Math.ceil(Math.max(1, ...logs));
  const x = (log: number) => LEFT + (log - least) / (most - least) * (WIDTH - LEFT - RIGHT);
  const parts: string[] = [];
  let y = TOP;
  for (const { name, bars } of rows) {
    const height = bars.length * BAR;
    parts.push(text(LEFT - 8, y + height / 2 + 4, name, "end"));
    for (const { ratio, colour } of bars) {
      const from = Math.min(x(0), x(Math.log2(ratio))), to = Math.max(x(0), x(Math.log2(ratio)));
      parts.push(
        `<rect x="${from.toFixed(1)}" y="${y}" width="${Math.max(1, to - from).toFixed(1)}" ` +
          `height="${BAR - 1}" fill="${colour}"/>`,
        `<text class="n" x="${(to + 3).toFixed(0)}" y="${y + BAR - 1}">${
          formatNumber(ratio)
        }</text>`,
      );
      y += BAR;
    }
    y += GAP;
  }
  const grid: string[] = [];
  for (let log = least; log <= most; log++) {
    const at = x(log).toFixed(1);
    const kind = log === 0 ? "axis" : "grid";
    grid.push(
      `<line class="${kind}" x1="${at}" x2="${at}" y1="${TOP - 6}" y2="${y - GAP + 4}"/>`,
      text(x(log), TOP - 10, log < 0 ? `1/${2 ** -log}` : String(2 ** log), "middle"),
    );
  }
  const title = "Ratios to a bare loop on Deno: to the right is better";
  return svg(y, title, [...legend(peers.map(({ name }) => name)), ...grid, ...parts]);
}

/**
 * Returns the chart of the server's CPU time per message, in microseconds, as the room grows and as
 * the number of silent rooms grows. Returns `undefined` if the load was not run. The dashed lines
 * show the slope of a cost that doubles when the number doubles.
 */
export function growthChart(outcomes: Outcomes): string | undefined {
  const load = outcomes.loads.find(({ name }) => name === GROWTH);
  if (load === undefined) return undefined;
  const values = outcomes.peers.map(({ name }) =>
    load.details.map(({ read }) => outcomes.value(load, name, read))
  );
  const all = values.flat().filter((value) => Number.isFinite(value) && value > 0);
  if (all.length === 0) return undefined;
  const least = Math.floor(Math.log2(Math.min(...all)));
  const most = Math.ceil(Math.log2(Math.max(...all)));
  const bottom = TOP + (most - least) * DOUBLING;
  const y = (value: number) => bottom - (Math.log2(value) - least) * DOUBLING;
  const parts: string[] = [];
  for (let log = least; log <= most; log++) {
    parts.push(text(LEFT / 2, y(2 ** log) + 4, String(2 ** log), "end"));
  }
  const panel = (left: number, what: string, at: readonly number[], first: number) => {
    const x = (i: number) => left + Math.log2(at[i]! / at[0]!) * DOUBLING;
    parts.push(text(left, bottom + 32, what, "start"));
    for (let log = least; log <= most; log++) {
      const height = y(2 ** log).toFixed(1);
      const right = x(at.length - 1).toFixed(1);
      parts.push(`<line class="grid" x1="${left}" x2="${right}" y1="${height}" y2="${height}"/>`);
    }
    at.forEach((many, i) =>
      parts.push(text(x(i), bottom + 16, many.toLocaleString("en"), "middle"))
    );
    const slope = Math.min(most - least, Math.log2(at.at(-1)! / at[0]!));
    parts.push(
      `<line class="axis" x1="${left}" y1="${bottom}" x2="${left + slope * DOUBLING}" ` +
        `y2="${bottom - slope * DOUBLING}" stroke-dasharray="3"/>`,
    );
    values.forEach((ofPeer, peer) => {
      const points = at.flatMap((_, i) => {
        const value = ofPeer[first + i]!;
        return Number.isFinite(value) && value > 0
          ? [`${x(i).toFixed(1)},${y(value).toFixed(1)}`]
          : [];
      });
      parts.push(`<polyline points="${points.join(" ")}" stroke="${COLOURS[peer]!}"/>`);
    });
  };
  panel(LEFT, "people in the room", ROOM_SIZES, 0);
  panel(WIDTH / 2 + LEFT / 2, "silent rooms beside a room of ten", SILENT_ROOMS, ROOM_SIZES.length);
  const title = "CPU of the server per message, microseconds";
  return svg(bottom + 44, title, [...legend(outcomes.peers.map(({ name }) => name)), ...parts]);
}

function legend(names: readonly string[]): string[] {
  return names.map((name, i) => {
    const at = 8 + i * WIDTH / names.length;
    return `<rect x="${at.toFixed(1)}" y="18" width="8" height="8" fill="${COLOURS[i]!}"/>` +
      text(at + 11, 26, name, "start");
  });
}

function svg(height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `<title>${title}</title><style>${STYLE}</style>`,
    text(8, 12, title, "start"),
    ...parts,
    "</svg>\n",
  ].join("\n");
}

function text(x: number, y: number, what: string, anchor: "start" | "middle" | "end"): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${
    escapeXml(what)
  }</text>`;
}
