// A feature beside the map: its state, its series, its document.

import { console1 } from "./api.js";
import { download, fill, h, problem, setText } from "./dom.js";
import { SeriesView } from "./series.js";

export class FeaturePanel {
  /** `onclose` is called when it is to go away; `map` is the view of the map, told what is selected. */
  constructor(job, map, { onclose }) {
    Object.assign(this, { job, map });
    this.title = h("h2", { id: "feature-title", tabIndex: -1 });
    this.state = h("span.state");
    this.text = h("div");
    this.told = h("p.quiet");
    this.series = new SeriesView({
      marked: () => this.data?.intervals.findIndex((one) => Date.parse(one.from) === Date.parse(map.interval)),
      onpick: (number) => map.showInterval(this.data.intervals[number].from),
    });
    this.raw = h("pre.code", { tabIndex: 0 });
    this.document = h("details", { ontoggle: () => this.#openDocument() }, [
      h("summary", {}, "Document"),
      h("div.row", {}, h("button", { type: "button", onclick: () => this.#save() }, "Download")),
      this.raw,
    ]);
    this.tryIt = h("a.button", {}, "Try a script here");
    const zoom = h("button", { type: "button", onclick: () => map.fit(this.data?.bounds) }, "Zoom to it");
    const close = h("button.plain", { type: "button", "aria-label": "Close the feature", onclick: onclose }, "Close");
    this.element = h("section.panel", { "aria-labelledby": "feature-title", hidden: true }, [
      h("div.head", {}, [this.title, close]),
      h("p", {}, [this.state, " ", this.told]),
      this.text,
      h("div.row", {}, [zoom, this.tryIt]),
      this.series.element,
      this.document,
    ]);
  }

  end() {
    this.hide();
    this.series.end();
  }

  hide() {
    this.element.hidden = true;
    this.id = null;
    this.data = null;
    this.map.select(null);
  }

  /** Shows a feature; `isNew` moves the focus and the map there. */
  async show(id, { fits = false } = {}) {
    const isOther = this.id !== id;
    this.id = id;
    this.element.hidden = false;
    if (isOther) {
      this.data = null;
      this.document.open = false;
      fill(this.raw);
      setText(this.title, `Feature ${id}`);
      setText(this.told, "Loading …");
      setText(this.state, "");
      this.title.focus({ preventScroll: true });
    }
    let data;
    try {
      data = await console1.feature(this.job.id, encodeURIComponent(id));
    } catch (error) {
      if (this.id !== id) return;
      setText(this.told, "");
      fill(this.text, problem(error.message));
      return;
    }
    if (this.id !== id) return;
    const isSame = this.data && JSON.stringify(this.data) === JSON.stringify(data);
    this.data = data;
    if (isSame) return;
    this.#fill(data);
    this.map.select(data.geometry);
    if (isOther && fits) this.map.fit(data.bounds);
  }

  #fill(data) {
    setText(this.title, data.name || `Feature ${data.id}`);
    setText(this.told, data.name ? `id ${data.id}` : "");
    setText(this.state, data.status);
    this.state.dataset.status = data.status;
    const hasSeries = Object.keys(data.series ?? {}).length > 0;
    const failed = (data.errors ?? []).filter(Boolean);
    const notes = [data.error, data.resultsError].filter(Boolean).map((text) => problem(text));
    if (failed.length) notes.push(problem(`${failed.length} of ${data.intervals.length} intervals failed: ${failed[0]}`));
    if (!hasSeries && !notes.length) {
      const text = this.job.kind === "statistics" ? "No results yet." : "The results of this job are images; there is no series.";
      notes.push(h("p.quiet", {}, text));
    }
    fill(this.text, notes);
    this.tryIt.href = `#/try?job=${this.job.id}&feature=${encodeURIComponent(data.id)}`;
    this.series.element.hidden = !hasSeries;
    this.document.hidden = !(data.intervals ?? []).length && !hasSeries;
    if (hasSeries) this.series.show({ intervals: data.intervals, errors: data.errors, series: data.series });
  }

  async #read() {
    return console1.document(this.job.id, encodeURIComponent(this.id));
  }

  async #openDocument() {
    if (!this.document.open || this.raw.textContent) return;
    setText(this.raw, "Loading …");
    try {
      const text = await this.#read();
      setText(this.raw, JSON.stringify(JSON.parse(text), null, 2));
    } catch (error) {
      setText(this.raw, error.message);
    }
  }

  async #save() {
    download(await this.#read(), `${this.data?.name || this.id}.json`.replace(/[^\w.\-]+/g, "_"));
  }
}

/** A search for features whose hits are links: the map for the keyboard. */
export class FeatureList {
  constructor(job) {
    this.job = job;
    this.body = h("tbody");
    this.told = h("p.quiet");
    this.input = h("input", { type: "search", id: "feature-search", spellcheck: false, placeholder: "id or beginning of the identifier" });
    this.input.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.look(), 250);
    });
    this.element = h("section", { "aria-labelledby": "features-title" }, [
      h("h2", { id: "features-title" }, "Features"),
      h("label.unseen", { htmlFor: "feature-search" }, "Find a feature"),
      this.input,
      h("table.tight", {}, [
        h("caption.unseen", {}, "Features found"),
        h("thead", {}, h("tr", {}, ["Identifier", "Id", "State"].map((name, n) => h(n === 1 ? "th.number" : "th", { scope: "col" }, name)))),
        this.body,
      ]),
      this.told,
    ]);
  }

  end() {
    clearTimeout(this.timer);
    this.ended = true;
  }

  async look() {
    const wanted = this.input.value.trim();
    try {
      const { data } = await console1.features(this.job.id, wanted, 12);
      if (this.ended || wanted !== this.input.value.trim()) return;
      fill(this.body, data.map((one) => h("tr", {}, [
        h("td", {}, h("a", { href: `#/jobs/${this.job.id}/features/${encodeURIComponent(one.id)}?fit=1` }, one.name || `Feature ${one.id}`)),
        h("td.number", {}, one.id),
        h("td", {}, h("span.state", { "data-status": one.status }, one.status)),
      ])));
      setText(this.told, data.length ? (data.length === 12 ? "The first 12; type to find others." : "") : "No feature begins like that.");
    } catch (error) {
      if (!this.ended) setText(this.told, error.message);
    }
  }
}
