// The map with all that belongs to it: what it is coloured by, the legend, the time slider.

import { console1 } from "./api.js";
import { rampGradient, noValueColor, STATES, stateColor } from "./colours.js";
import { choice, field, fill, h, problem, say, setText } from "./dom.js";
import * as format from "./format.js";
import { short } from "./chart.js";
import { canDraw, FeatureMap } from "./map.js";
import { onTheme } from "./theme.js";
import { TimeSlider } from "./slider.js";

export class MapView {
  /** `onpick` gets a feature's id, `oninterval` nothing when another interval is shown. */
  constructor(job, { styleUrl, onpick, oninterval }) {
    Object.assign(this, { job, styleUrl, onpick, oninterval });
    this.measure = null;
    this.limits = null;
    this.controls = h("div.filters");
    this.place = h("div.map", { role: "region", "aria-label": "Map of the features; the list below has them too" });
    this.legend = h("div.legend");
    this.readout = h("p.readout", { "aria-hidden": "true" });
    this.trouble = h("div");
    this.slider = new TimeSlider((number) => this.#atInterval(number), () => this.map?.drawn());
    const whole = h("button.plain", { type: "button", onclick: () => this.map?.fit() }, "Show all");
    this.element = h("section.mapview", { "aria-labelledby": "map-title" }, [
      h("div.head", {}, [h("h2", { id: "map-title" }, "Map"), whole]),
      this.controls,
      this.trouble,
      this.place,
      h("div.under", {}, [this.legend, this.readout]),
      this.slider.element,
    ]);
    this.endTheme = onTheme(() => this.#showLegend());
    this.#showControls();
  }

  end() {
    this.slider.end();
    this.endTheme();
    this.map?.destroy();
  }

  /** The interval that is shown, as its beginning; undefined where states are. */
  get interval() {
    return this.measure ? this.job.intervals[this.slider.at]?.from : undefined;
  }

  showInterval(from) {
    const number = this.job.intervals.findIndex((one) => Date.parse(one.from) === Date.parse(from));
    if (this.measure && number >= 0) this.slider.go(number);
  }

  select(geometry) {
    this.selected = geometry;
    this.map?.select(geometry);
  }

  fit(bounds) {
    this.map?.fit(bounds ?? undefined);
  }

  /** What the poll found: more features may be done, or the map may have become ready. */
  update(job) {
    const before = this.job;
    this.job = job;
    if (!this.map && job.mapReady && job.bounds) this.#start();
    if (JSON.stringify(before.outputs) !== JSON.stringify(job.outputs)) this.#showControls();
    const moved = (one) => [one.featuresDone, one.featuresFailed, one.status].join();
    if (this.map && moved(before) !== moved(job)) {
      if (this.measure) this.#findRange();
      this.map.refresh();
    }
    this.#showLegend();
  }

  #start() {
    if (!canDraw()) {
      fill(this.place, h("p.quiet", {}, "This browser has no WebGL 2, which the map needs. The list of features below has the same features."));
      this.map = { show() {}, refresh() {}, select() {}, fit() {}, destroy() {}, drawn: () => Promise.resolve() };
      return;
    }
    this.map = new FeatureMap(this.place, {
      styleUrl: this.styleUrl,
      bounds: this.job.bounds,
      tiles: this.#tiles(),
      onpick: this.onpick,
      onhover: (found) => this.#hover(found),
    });
    if (this.selected) this.map.select(this.selected);
  }

  #tiles() {
    const values = this.measure ? { by: "value", ...this.measure, interval: this.interval } : { by: "status" };
    return console1.tiles(this.job.id, values);
  }

  #showControls() {
    const { outputs } = this.job;
    const modes = [["status", "State"], ...(outputs.length ? [["value", "Value"]] : [])];
    const mode = choice(modes, this.measure ? "value" : "status", ({ target }) => {
      this.measure = target.value === "value" ? this.#measureOf({}) : null;
      this.#changed("mode");
    });
    const shown = [["mode", field("Colour by", mode)]];
    if (this.measure) {
      const output = outputs.find((one) => one.output === this.measure.output) ?? outputs[0];
      const select = (name, label, known, text = (one) => one) =>
        shown.push([name, field(label, choice(known.map((one) => [one, text(one)]), this.measure[name], ({ target }) => {
          this.measure = this.#measureOf({ ...this.measure, [name]: target.value });
          this.#changed(name);
        }))]);
      select("output", "Output", outputs.map((one) => one.output));
      select("band", "Band", output.bands);
      select("statistic", "Statistic", output.statistics, short);
      this.#limitFields(shown);
    }
    fill(this.controls, shown.map(([name, made]) => {
      made.dataset.name = name;
      return made;
    }));
    this.slider.show(this.measure ? this.job.intervals : []);
  }

  #limitFields(shown) {
    this.edges = ["From", "To"].map((label, place) => {
      const input = h("input.short", { type: "number", step: "any", disabled: !this.limits });
      input.addEventListener("change", () => {
        const edges = this.edges.map((edge) => edge.valueAsNumber);
        if (edges.some((edge) => !Number.isFinite(edge)) || edges[0] >= edges[1]) return;
        this.ownLimits = this.limits = edges;
        this.#paint();
      });
      shown.push([`limit-${place}`, field(label, input)]);
      return input;
    });
    this.#showLimits();
  }

  #showLimits() {
    this.edges?.forEach((edge, place) => {
      edge.disabled = !this.limits;
      if (document.activeElement !== edge) edge.value = this.limits ? Number(this.limits[place].toPrecision(4)) : "";
    });
  }

  #measureOf(wanted) {
    const output = this.job.outputs.find((one) => one.output === wanted.output) ?? this.job.outputs[0];
    const keep = (value, known) => (known.includes(value) ? value : known[0]);
    return { output: output.output, band: keep(wanted.band, output.bands), statistic: keep(wanted.statistic, output.statistics) };
  }

  #changed(name) {
    this.limits = this.ownLimits = null;
    this.#showControls();
    this.controls.querySelector(`[data-name="${name}"] select`)?.focus();
    if (this.measure) this.#findRange();
    else this.#paint();
    this.oninterval?.();
  }

  async #findRange() {
    const { measure } = this;
    try {
      const range = await console1.range(this.job.id, measure);
      if (measure !== this.measure) return;
      fill(this.trouble);
      if (this.slider.weigh(range.counts ?? [])) this.oninterval?.();
      if (range.minimum !== null && !this.ownLimits) this.limits = [range.p02, range.p98];
      if (range.minimum === null) fill(this.trouble, h("p.quiet", {}, "No feature has such a value yet."));
      else if (range.covered < 1) {
        fill(this.trouble, h("p.quiet", {}, `Values are being read: ${format.percent(100 * range.covered)} so far.`));
        clearTimeout(this.timer);
        this.timer = setTimeout(() => measure === this.measure && this.element.isConnected && (this.#findRange(), this.map?.refresh()), 2000);
      }
    } catch (error) {
      if (measure !== this.measure) return;
      fill(this.trouble, problem(error.message));
      return;
    }
    this.#showLimits();
    this.#paint();
  }

  #atInterval(number) {
    this.#paint();
    this.oninterval?.();
    if (!this.slider.isPlaying) say(format.interval(this.job.intervals[number]));
  }

  #paint() {
    this.map?.show(this.#tiles(), this.measure ? this.limits ?? [0, 1] : null);
    this.#showLegend();
  }

  #showLegend() {
    if (!this.measure) {
      const { features, featuresDone: done, featuresFailed: failed } = this.job;
      const counts = { waiting: Math.max(0, (features ?? 0) - done - failed), done, failed };
      fill(this.legend, STATES.filter(({ name }) => name in counts).map((state) => {
        const swatch = h("span.swatch");
        swatch.style.backgroundColor = stateColor(state.code);
        return h("span.entry", {}, [swatch, `${state.text} `, h("b", {}, format.count(counts[state.name]))]);
      }));
      return;
    }
    const ramp = h("span.ramp");
    ramp.style.backgroundImage = rampGradient();
    const swatch = h("span.swatch");
    swatch.style.backgroundColor = noValueColor();
    const [least, most] = this.limits ?? [null, null];
    fill(this.legend, [
      h("span.entry", {}, [h("span.number", {}, `≤ ${format.value(least)}`), ramp, h("span.number", {}, `≥ ${format.value(most)}`)]),
      h("span.entry", {}, [swatch, "no value"]),
    ]);
  }

  #hover(found) {
    if (!found) {
      setText(this.readout, "");
      return;
    }
    const state = STATES.find(({ code }) => code === found.s);
    const what = this.measure && found.v !== undefined ? `${short(this.measure.statistic)} ${format.value(found.v)}` : state?.text.toLowerCase();
    setText(this.readout, `${found.name ? `${found.name} · ` : ""}${found.id} · ${what ?? ""}`);
  }
}
