// The series of one band of one feature as a chart, and as a table beside it.

import uPlot from "../uplot/uPlot.esm.js";
import { cssColor, h } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 250;
const DAY_S = 86_400;
// The bars that say how much of a field was seen stand below the line, on this part of the height.
const BAR_SHARE = 0.14;

/** What lies around the mean, by name: lists of the lower and the upper edge. */
export function spreads(band) {
  const found = {};
  const { mean, stDev, min, max, percentiles = {} } = band;
  const both = (left, right, join) => left.map((one, n) => (one === null || right[n] === null ? null : join(one, right[n])));
  if (stDev?.some((one) => one !== null)) {
    found["± standard deviation"] = [both(mean, stDev, (a, b) => a - b), both(mean, stDev, (a, b) => a + b)];
  }
  const names = Object.keys(percentiles).sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
  if (names.length > 1) {
    const [low, high] = [names[0], names.at(-1)];
    found[`${short(low)} to ${short(high)}`] = [percentiles[low], percentiles[high]];
  }
  if (min?.some((one) => one !== null)) found["minimum to maximum"] = [min, max];
  return found;
}

/** "p50.0" -> "p50". */
export function short(name) {
  return name.replace(/\.0$/, "");
}

/** The share of samples with data, per interval; null without samples. */
export function shares({ sampleCount = [], noDataCount = [] }) {
  return sampleCount.map((samples, n) => (samples ? 1 - (noDataCount[n] ?? 0) / samples : null));
}

/** Draws into `place`; `onpick` gets the number of an interval that was clicked. Returns what ends it. */
export function drawSeries(place, { intervals, band, spread, title, marked, onpick }) {
  const middles = intervals.map(({ from, to }) => (Date.parse(from) + Date.parse(to)) / 2000);
  const [low, high] = spread ?? [[], []];
  const missing = middles.map(() => null);
  const parts = [middles, shares(band), high.length ? high : missing, low.length ? low : missing, band.mean];
  const [line, text, grid] = [cssColor("line"), cssColor("quiet"), cssColor("rule")];
  const shown = (_, number) => format.value(number);
  const edge = { width: 0, stroke: "transparent", points: { show: false }, spanGaps: true, value: shown };
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui, sans-serif" };
  const plot = new uPlot(
    {
      width: Math.max(240, place.clientWidth),
      height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
      cursor: { drag: { x: true, y: false }, points: { size: 8 } },
      scales: { x: { time: true, range: padded }, y: { range: above }, share: { range: [0, 1 / BAR_SHARE] } },
      axes: [
        { ...axis, values: dates },
        { ...axis, size: 58, values: (_, ticks) => ticks.map((one) => format.value(one)) },
      ],
      series: [
        { label: "UTC", value: (_, at) => (at === null ? "–" : format.interval(intervals[middles.indexOf(at)] ?? intervals[0])) },
        {
          label: "with data",
          scale: "share",
          fill: cssColor("faint"),
          stroke: "transparent",
          paths: uPlot.paths.bars({ size: [0.7, 8] }),
          points: { show: false },
          value: (_, share) => (share === null ? "–" : format.percent(share * 100)),
        },
        { ...edge, label: "upper" },
        { ...edge, label: "lower" },
        { label: "mean", stroke: line, width: 1.5, spanGaps: true, points: { show: true, size: 5, fill: line }, value: shown },
      ],
      bands: high.length ? [{ series: [2, 3], fill: cssColor("band") }] : [],
      hooks: {
        draw: [(chart) => markInterval(chart, middles[marked?.()])],
        ready: [
          (chart) => {
            let pressed = 0;
            chart.over.addEventListener("mousedown", (event) => (pressed = event.clientX));
            chart.over.addEventListener("click", (event) => {
              if (Math.abs(event.clientX - pressed) < 4 && chart.cursor.idx !== null) onpick?.(chart.cursor.idx);
            });
          },
        ],
      },
    },
    parts,
    place,
  );
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", summary(title, intervals, band));
  const sizes = new ResizeObserver(() => {
    if (place.clientWidth && Math.abs(place.clientWidth - plot.width) > 1) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  });
  sizes.observe(place);
  return {
    redraw: () => plot.redraw(false),
    end() {
      sizes.disconnect();
      plot.destroy();
    },
  };
}

function padded(_, least, most) {
  const more = Math.max((most - least) * 0.02, DAY_S);
  return [least - more, most + more];
}

/** Room for the bars below the values. */
function above(_, least, most) {
  if (least === null || most === null) return [0, 1];
  const span = most - least || Math.abs(most) || 1;
  return [least - span * (BAR_SHARE + 0.06) * 1.25, most + span * 0.06];
}

/** ISO dates under the ticks, as short as the distance of ticks allows. */
function dates(_, ticks) {
  const gap = ticks.length > 1 ? ticks[1] - ticks[0] : DAY_S;
  const [from, to] = gap >= 300 * DAY_S ? [0, 4] : gap >= 27 * DAY_S ? [0, 7] : gap >= DAY_S ? [5, 10] : [5, 16];
  return ticks.map((at) => new Date(at * 1e3).toISOString().slice(from, to).replace("T", " "));
}

function markInterval(chart, at) {
  if (at === undefined) return;
  const x = Math.round(chart.valToPos(at, "x", true));
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = cssColor("mark");
  ctx.setLineDash([4, 3]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}

function summary(title, intervals, { mean }) {
  const known = mean.map((one, n) => [one, n]).filter(([one]) => one !== null);
  if (!known.length) return `${title}: no interval has a value`;
  const [least, most] = [known.reduce((a, b) => (b[0] < a[0] ? b : a)), known.reduce((a, b) => (b[0] > a[0] ? b : a))];
  return (
    `${title}: mean of ${known.length} of ${intervals.length} intervals, least ${format.value(least[0])} at ` +
    `${format.interval(intervals[least[1]])}, greatest ${format.value(most[0])} at ${format.interval(intervals[most[1]])}`
  );
}

/** The series as a table. */
export function seriesTable({ intervals, errors = [], band, title }) {
  const percentiles = Object.keys(band.percentiles ?? {});
  const plain = ["mean", "stDev", "min", "max"];
  const valid = shares(band);
  const head = ["Interval (UTC)", ...plain, ...percentiles.map(short), "samples", "with data"];
  const rows = intervals.map((one, n) => {
    const cells = [...plain.map((name) => band[name]?.[n]), ...percentiles.map((name) => band.percentiles[name][n])];
    return h("tr", {}, [
      h("th", { scope: "row" }, format.interval(one)),
      errors[n]
        ? h("td.bad", { colSpan: head.length - 1 }, errors[n])
        : [
            cells.map((cell) => h("td.number", {}, format.value(cell))),
            h("td.number", {}, format.count(band.sampleCount?.[n])),
            h("td.number", {}, valid[n] === null || valid[n] === undefined ? "–" : format.percent(valid[n] * 100)),
          ],
    ]);
  });
  return h("div.scroll.short", { tabIndex: 0, role: "region", "aria-label": `Values of ${title}` }, [
    h("table", {}, [
      h("caption.unseen", {}, title),
      h("thead", {}, h("tr", {}, head.map((name, n) => h(n ? "th.number" : "th", { scope: "col" }, name)))),
      h("tbody", {}, rows),
    ]),
  ]);
}
