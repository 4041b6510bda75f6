// An image of the Process API on a canvas: three bands as colours, one as a ramp, with the outline of the field.

import { rampGradient, rampRgb } from "./colours.js";
import { fill, h, setText } from "./dom.js";
import * as format from "./format.js";

const SHOWN_PX = 420;

export class Picture {
  constructor() {
    this.canvas = h("canvas", { role: "img" });
    this.outline = h("canvas.outline", { "aria-hidden": "true" });
    this.readout = h("p.readout", { "aria-hidden": "true" });
    this.legend = h("div.legend");
    this.told = h("p.quiet");
    this.frame = h("div.frame", {}, [this.canvas, this.outline]);
    this.element = h("div.picture", { hidden: true }, [this.frame, h("div.under", {}, [this.legend, this.readout]), this.told]);
    this.outline.addEventListener("mousemove", (event) => this.#hover(event));
    this.outline.addEventListener("mouseout", () => setText(this.readout, ""));
  }

  /** `box` and `geometry` are in the units of the image; `title` says what it is of. */
  show(image, { box, geometry, title }) {
    this.image = image;
    this.element.hidden = false;
    const { width, height } = image;
    const scale = Math.max(1, Math.floor(SHOWN_PX / Math.max(width, height)));
    Object.assign(this.canvas, { width, height });
    const size = [width, height].map((one) => (scale > 1 ? one * scale : one * Math.min(1, SHOWN_PX / Math.max(width, height))));
    this.frame.style.maxWidth = `${size[0]}px`;
    this.frame.style.aspectRatio = `${width} / ${height}`;
    const limits = this.#paint();
    this.#drawOutline(size, box, geometry);
    this.#showLegend(limits);
    const range = limits.map(([low, high]) => `${format.value(low)} to ${format.value(high)}`).join("; ");
    this.canvas.setAttribute("aria-label", `${title}: ${width} by ${height} pixels, values mostly ${range || "none"}`);
    setText(this.told, `${title}, ${width} × ${height} pixels`);
  }

  /** Puts the colours on the canvas; gives the 2nd and 98th percentile of each shown band. */
  #paint() {
    const { width, height, bands, values } = this.image;
    const shown = bands >= 3 ? [0, 1, 2] : [0];
    const limits = shown.map((band) => this.#limitsOf(band));
    const context = this.canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel += 1) {
      const found = shown.map((band) => values[pixel * bands + band]);
      if (found.some((one) => !this.#isValue(one))) continue;
      const shares = found.map((one, n) => (limits[n] ? (one - limits[n][0]) / (limits[n][1] - limits[n][0] || 1) : 0));
      const color = shown.length === 1 ? rampRgb(shares[0]) : shares.map((share) => share * 255);
      pixels.data.set([...color, 255], pixel * 4);
    }
    context.putImageData(pixels, 0, 0);
    return limits.filter(Boolean);
  }

  #isValue(one) {
    return Number.isFinite(one) && one !== this.image.noData;
  }

  #limitsOf(band) {
    const { bands, values, isByte } = this.image;
    if (isByte && bands >= 3) return [0, 255];
    const known = [];
    for (let place = band; place < values.length; place += bands) if (this.#isValue(values[place])) known.push(values[place]);
    if (!known.length) return null;
    known.sort((a, b) => a - b);
    const at = (share) => known[Math.round(share * (known.length - 1))];
    return [at(0.02), at(0.98)];
  }

  #drawOutline(size, [west, south, east, north], geometry) {
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this.outline, { width: size[0] * ratio, height: size[1] * ratio });
    const context = this.outline.getContext("2d");
    context.scale(ratio, ratio);
    const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
    for (const [color, width] of [["#000", 4], ["#fff", 2]]) {
      Object.assign(context, { strokeStyle: color, lineWidth: width, lineJoin: "round" });
      context.beginPath();
      for (const ring of polygons.flat()) {
        ring.forEach(([x, y], number) => {
          const place = [((x - west) / (east - west)) * size[0], ((north - y) / (north - south)) * size[1]];
          if (number) context.lineTo(...place);
          else context.moveTo(...place);
        });
        context.closePath();
      }
      context.stroke();
    }
  }

  #showLegend(limits) {
    if (this.image.bands >= 3 || !limits.length) {
      fill(this.legend, limits.length ? "Colours of the first three bands" : "No pixel has a value");
      return;
    }
    const ramp = h("span.ramp");
    ramp.style.backgroundImage = rampGradient();
    const [[least, most]] = limits;
    fill(this.legend, h("span.entry", {}, [h("span.number", {}, format.value(least)), ramp, h("span.number", {}, format.value(most))]));
  }

  #hover({ offsetX, offsetY }) {
    const { width, height, bands, values } = this.image;
    const { clientWidth, clientHeight } = this.outline;
    const [column, row] = [Math.floor((offsetX / clientWidth) * width), Math.floor((offsetY / clientHeight) * height)];
    if (column < 0 || row < 0 || column >= width || row >= height) return;
    const from = (row * width + column) * bands;
    const found = [...values.subarray(from, from + bands)].map((one) => (this.#isValue(one) ? format.value(one) : "–"));
    setText(this.readout, `column ${column}, row ${row}: ${found.join(", ")}`);
  }
}
