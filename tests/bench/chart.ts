/**
 * The ratios as an SVG: for each load a bar a peer, from the line at 1, on a logarithmic scale.
 *
 * Written by hand; readable on a light and on a dark page. Only what was measured is drawn.
 */
import { type Outcomes, shown } from "./report.ts";
import { BASE } from "./peers.ts";

const LEFT = 110, RIGHT = 60, BAR = 9, GAP = 14, TOP = 58, WIDTH = 760;
const COLOURS = [
  "#1f77b4",
  "#17a2a2",
  "#7aa6d6",
  "#4c5fa8",
  "#e08a2e",
  "#c4564a",
  "#8a8f98",
  "#9467bd",
];

const STYLE = `
  text { font: 11px system-ui, sans-serif; fill: #24292f }
  .n { font-size: 8px }
  .axis { stroke: #8c959f; stroke-width: 1 }
  .grid { stroke: #8c959f; stroke-width: .5; opacity: .4 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
`;

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** The chart. */
export function chart(outcomes: Outcomes): string {
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
        `<text class="n" x="${(to + 3).toFixed(0)}" y="${y + BAR - 1}">${shown(ratio)}</text>`,
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
  const legend = peers.map(({ name }, i) => {
    const at = 8 + i * WIDTH / peers.length;
    return `<rect x="${at.toFixed(1)}" y="18" width="8" height="8" fill="${COLOURS[i]!}"/>` +
      text(at + 11, 26, name, "start");
  });
  const title = "Ratios to a bare loop on Deno: to the right is better";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" role="img">`,
    `<title>${title}</title><style>${STYLE}</style>`,
    text(8, 12, title, "start"),
    ...legend,
    ...grid,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

function text(x: number, y: number, what: string, anchor: "start" | "middle" | "end"): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${
    escaped(what)
  }</text>`;
}
