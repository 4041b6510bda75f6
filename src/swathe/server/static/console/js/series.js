// A chart of statistics with what chooses its output, band and spread: in a feature's panel, and where a script is tried.

import { drawSeries, seriesTable, spreads } from "./chart.js";
import { choice, field, fill, h } from "./dom.js";
import { onTheme } from "./theme.js";

export class SeriesView {
  /** `marked` says which interval is to be marked, `onpick` gets the one that was clicked. */
  constructor({ marked, onpick } = {}) {
    Object.assign(this, { marked, onpick });
    this.controls = h("div.filters");
    this.place = h("div.chart");
    this.table = h("div");
    this.details = h("details", { ontoggle: () => this.#fillTable() }, [h("summary", {}, "Values as a table"), this.table]);
    this.element = h("div.series", {}, [this.controls, this.place, this.details]);
    this.endTheme = onTheme(() => this.#draw());
    this.picked = {};
  }

  end() {
    this.endTheme();
    this.chart?.end();
    this.chart = null;
  }

  redraw() {
    this.chart?.redraw();
  }

  /** Shows `{intervals, errors, series}`; what was chosen before stays chosen where it is there. */
  show(data) {
    this.data = data;
    this.#choose();
    this.#draw();
  }

  #choose() {
    const { series } = this.data;
    const pick = (name, known) => {
      if (!known.includes(this.picked[name])) this.picked[name] = known[0];
      return known;
    };
    const outputs = pick("output", Object.keys(series));
    const bands = pick("band", Object.keys(series[this.picked.output] ?? {}));
    this.around = this.#band() ? spreads(this.#band()) : {};
    const around = pick("spread", [...Object.keys(this.around), "none"]);
    const select = (name, text, known) =>
      field(text, choice(known.map((one) => [one, one]), this.picked[name], ({ target }) => {
        this.picked[name] = target.value;
        this.#choose();
        this.#draw();
        this.controls.querySelector(`[data-name="${name}"] select`)?.focus();
      }));
    const shown = [["output", "Output", outputs], ["band", "Band", bands], ["spread", "Spread", around]];
    fill(this.controls, shown.map(([name, text, known]) => {
      const made = select(name, text, known);
      made.dataset.name = name;
      return made;
    }));
  }

  #band() {
    return this.data?.series[this.picked.output]?.[this.picked.band];
  }

  #title() {
    return `${this.picked.output}, ${this.picked.band}`;
  }

  #draw() {
    this.chart?.end();
    this.chart = null;
    const band = this.#band();
    fill(this.place);
    this.details.hidden = !band;
    if (!band || !this.element.isConnected) return;
    const { intervals } = this.data;
    const about = { intervals, band, spread: this.around[this.picked.spread], title: this.#title() };
    this.chart = drawSeries(this.place, { ...about, marked: this.marked, onpick: this.onpick });
    this.#fillTable();
  }

  #fillTable() {
    const band = this.#band();
    if (!this.details.open || !band) return;
    fill(this.table, seriesTable({ ...this.data, band, title: this.#title() }));
  }
}
