// Meridians and parallels for a map without a basemap, with their degrees at the edges.

import { h } from "./dom.js";

const STEPS = [30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001];
const APART_PX = 110;

/** Lines of the graticule over bounds (west, south, east, north in degrees) on a map so wide: [{lon} or {lat}]. */
export function gridLines([west, south, east, north], width) {
  const span = Math.max(east - west, 1e-6);
  const step = STEPS.findLast((one) => (one / span) * width >= APART_PX) ?? STEPS[0];
  const [least, most] = [Math.max(-85, south), Math.min(85, north)];
  const lines = [];
  for (let k = Math.ceil(west / step); k * step <= east; k += 1) lines.push({ lon: k * step, step });
  for (let k = Math.ceil(least / step); k * step <= most; k += 1) lines.push({ lat: k * step, step });
  return lines;
}

/** The lines as GeoJSON. */
export function toGeoJson(lines, [west, south, east, north]) {
  const features = lines.map(({ lon, lat }) => ({
    type: "Feature",
    properties: {},
    geometry: {
      type: "LineString",
      coordinates: lat === undefined ? [[lon, Math.max(-85, south)], [lon, Math.min(85, north)]] : [[west, lat], [east, lat]],
    },
  }));
  return { type: "FeatureCollection", features };
}

export function degrees(number, step, [positive, negative]) {
  const digits = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  const folded = positive === "E" ? ((((number + 180) % 360) + 360) % 360) - 180 : number;
  const sign = Math.abs(folded) < step / 2 ? "" : folded > 0 ? positive : negative;
  return `${Math.abs(folded).toFixed(digits)}°${sign ? `\u202f${sign}` : ""}`;
}

/** Keeps lines and labels up to date with a map that has a source `graticule`. */
export function followMap(map, place) {
  const labels = h("div.degrees", { "aria-hidden": "true" });
  place.append(labels);
  const draw = () => {
    const box = map.getBounds();
    const bounds = [box.getWest(), box.getSouth(), box.getEast(), box.getNorth()];
    const { clientWidth: width, clientHeight: height } = map.getContainer();
    const lines = gridLines(bounds, width);
    map.getSource("graticule")?.setData(toGeoJson(lines, bounds));
    labels.replaceChildren(
      ...lines.flatMap(({ lon, lat, step }) => {
        const isMeridian = lat === undefined;
        const at = map.project(isMeridian ? [lon, box.getNorth()] : [box.getWest(), lat]);
        if (isMeridian ? at.x < 30 || at.x > width - 60 : at.y < 24 || at.y > height - 50) return [];
        const text = isMeridian ? degrees(lon, step, ["E", "W"]) : degrees(lat, step, ["N", "S"]);
        const label = h(isMeridian ? "span.lon" : "span.lat", {}, text);
        label.style.transform = isMeridian ? `translate(${at.x + 3}px, 2px)` : `translate(3px, ${at.y - 15}px)`;
        return [label];
      }),
    );
  };
  map.on("move", draw);
  map.on("resize", draw);
  draw();
}
