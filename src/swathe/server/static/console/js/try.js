// A form that tries a script on one field, and makes a batch request of it.

import { console1, getJson, onSignOut, send } from "./api.js";
import { fill, h, problem, say, setText } from "./dom.js";
import * as format from "./format.js";
import { Picture } from "./picture.js";
import { SeriesView } from "./series.js";
import { readTiff } from "./tiff.js";
import { TryForm } from "./tryform.js";
import { batchRequest, outputsOf, pictureRequest, statisticsRequest, toSeries } from "./tryrequest.js";

let deployment = null;
/** How the server names the line of a script that is to blame. */
const LINE = / \(line (\d+) of the evalscript\)(?:: (.*))?/s;
/** What was in the form when it was left, for as long as the page lives. */
let kept = null;
onSignOut(() => {
  deployment = kept = null;
});

export function showTry(place, _, values) {
  return new TryPage(place, values);
}

class TryPage {
  constructor(place, values) {
    document.title = "Try a script – Swathe";
    this.form = new TryForm(() => this.run(), (keys) => this.createBatch(keys), () => this.#preview());
    this.trouble = h("div");
    this.told = h("p.quiet", {}, "Statistics of the field and a picture of it will be here.");
    this.series = new SeriesView({
      marked: () => this.data?.intervals.findIndex((one) => one.from === this.when.value),
      onpick: (number) => this.#showPictureOf(this.data.intervals[number].from),
    });
    this.series.element.hidden = true;
    this.picture = new Picture();
    this.output = h("select", { id: "picture-output", onchange: () => this.showPicture() });
    this.when = h("select", { id: "picture-when", onchange: () => this.showPicture() });
    this.pictureTrouble = h("div");
    this.pictureControls = h("div.filters", { hidden: true }, [
      h("div.field", {}, [h("label", { htmlFor: "picture-output" }, "Picture of"), this.output]),
      h("div.field", {}, [h("label", { htmlFor: "picture-when" }, "At"), this.when]),
    ]);
    const results = h("section.results", { "aria-labelledby": "results-title" }, [
      h("h2", { id: "results-title" }, "Results"),
      this.told,
      this.trouble,
      this.series.element,
      this.pictureControls,
      this.pictureTrouble,
      this.picture.element,
    ]);
    fill(place, [h("div.head", {}, h("h1", {}, "Try a script")), h("div.try", {}, [this.form.element, results])]);
    this.#start(values);
  }

  leave() {
    kept = this.form.state();
    this.abort?.abort();
    this.series.end();
    this.gone = true;
  }

  go(_, values) {
    if (values.has("job")) this.#start(values);
  }

  async #start(values) {
    try {
      deployment ??= await console1.deployment();
      this.form.offer(deployment.collections);
      if (kept) this.form.restore(kept);
      this.#offerJobs();
      const id = values.get("job");
      if (!id) return;
      const wanted = values.get("feature");
      const [job, feature] = await Promise.all([
        console1.job(id),
        wanted === null ? null : console1.feature(id, encodeURIComponent(wanted)),
      ]);
      this.form.takeJob(job);
      if (feature) this.form.takeFeature(feature);
    } catch (error) {
      fill(this.trouble, problem(error.message));
    }
  }

  async #offerJobs() {
    const { data } = await console1.jobs({ kind: "statistics", count: 50 });
    this.form.offerJobs(data.filter((job) => job.features));
  }

  async run() {
    this.abort?.abort();
    const { signal } = (this.abort = new AbortController());
    fill(this.trouble);
    fill(this.pictureTrouble);
    this.form.script.forgive();
    let wanted;
    try {
      wanted = this.form.read();
    } catch (error) {
      fill(this.trouble, problem(error.message));
      error.control?.focus();
      return;
    }
    this.wanted = wanted;
    setText(this.told, "Computing …");
    say("Computing");
    const began = performance.now();
    try {
      const json = statisticsRequest(wanted);
      const answer = await send("api/v1/statistics", { method: "POST", json, signal });
      const cost = Number(answer.headers.get("X-ProcessingUnits-Spent"));
      this.data = toSeries(await answer.json());
      const took = format.duration((performance.now() - began) / 1000);
      const known = this.data.intervals.length;
      setText(this.told, `${format.count(known)} ${known === 1 ? "interval" : "intervals"} in ${took}${cost ? `, ${format.units(cost)}` : ""}`);
      say(`Statistics of ${known} intervals are there`);
      const failed = this.data.errors.filter(Boolean);
      if (failed.length) fill(this.trouble, this.#problem(failed[0], `${failed.length} of ${known} intervals failed: `));
      this.series.element.hidden = !Object.keys(this.data.series).length;
      this.series.show(this.data);
    } catch (error) {
      if (error.name === "AbortError") return;
      setText(this.told, "");
      this.data = null;
      this.series.element.hidden = true;
      fill(this.trouble, this.#problem(error.message));
    }
    this.#offerPictures();
    await this.showPicture();
  }

  #offerPictures() {
    const { wanted, data } = this;
    this.pictureControls.hidden = false;
    const before = [this.output.value, this.when.value];
    const names = outputsOf(wanted.script);
    fill(this.output, names.map((name) => h("option", { value: name }, name)));
    if (names.includes(before[0])) this.output.value = before[0];
    const intervals = data?.intervals ?? [];
    fill(this.when, [
      h("option", { value: "" }, "the whole time, latest first"),
      intervals.map((one) => h("option", { value: one.from }, format.interval(one))),
    ]);
    this.when.value = intervals.some((one) => one.from === before[1]) ? before[1] : this.#bestInterval();
  }

  /** Of the intervals that show about as much of the field as any, the one with the greatest mean. */
  #bestInterval() {
    const band = Object.values(Object.values(this.data?.series ?? {})[0] ?? {})[0];
    if (!band) return "";
    const valid = band.sampleCount.map((samples, n) => (samples === null || band.mean[n] === null ? -1 : samples - band.noDataCount[n]));
    const most = Math.max(...valid);
    if (most <= 0) return "";
    const [best] = valid.map((_, n) => n).filter((n) => valid[n] >= 0.95 * most).sort((a, b) => band.mean[b] - band.mean[a]);
    return this.data.intervals[best].from;
  }

  #showPictureOf(from) {
    this.when.value = from;
    this.showPicture();
  }

  async showPicture() {
    const { wanted } = this;
    this.series.redraw();
    fill(this.pictureTrouble);
    const interval = this.data?.intervals.find((one) => one.from === this.when.value);
    const timeRange = interval ?? statisticsRequest(wanted).aggregation.timeRange;
    const { request, box, geometry } = pictureRequest(wanted, { output: this.output.value, timeRange });
    const turn = (this.turn = {});
    try {
      const answer = await send("api/v1/process", { method: "POST", json: request, accept: "image/tiff", signal: this.abort.signal });
      const image = await readTiff(await answer.arrayBuffer());
      if (this.turn !== turn || this.gone) return;
      const when = interval ? format.interval(interval) : "latest";
      this.picture.show(image, { box, geometry, title: `${this.output.value}, ${when}` });
      say("The picture is there");
    } catch (error) {
      if (error.name === "AbortError" || this.turn !== turn) return;
      this.picture.element.hidden = true;
      fill(this.pictureTrouble, this.#problem(error.message, "No picture: "));
    }
  }

  /** What went wrong; the line of the script that it names is marked, unless one is already, and can be gone to. */
  #problem(message, before = "") {
    const found = LINE.exec(message);
    if (!found) return problem(before + message);
    const { script } = this.form;
    const [, line, why] = found;
    if (!script.isBlamed) script.blame(Number(line), why || message.replace(found[0], ""));
    const where = `line ${line} of the evalscript`;
    const go = h("button.link", { type: "button", title: "Go to this line", onclick: () => script.goTo(Number(line)) }, where);
    const [start, end] = [message.slice(0, found.index), message.slice(found.index + found[0].length)];
    return problem([before, start, " ", h("span.whole", {}, ["(", go, why ? "):" : ")"]), why ? ` ${why}` : end]);
  }

  #preview() {
    try {
      const body = batchRequest({ ...this.form.read({ needsField: false }), ...this.form.readBatch() });
      for (const part of [body.input.features, body.output]) if (part.s3.secretAccessKey) part.s3.secretAccessKey = "…";
      return JSON.stringify(body, null, 2);
    } catch (error) {
      return error.message;
    }
  }

  async createBatch() {
    const { batchTrouble } = this.form;
    fill(batchTrouble);
    this.form.script.forgive();
    try {
      const json = batchRequest({ ...this.form.read({ needsField: false }), ...this.form.readBatch() });
      const { id } = await getJson("api/v1/statistics/batch", { method: "POST", json });
      this.form.forgetKeys();
      say("The batch request was created");
      location.hash = `#/jobs/${id}`;
    } catch (error) {
      fill(batchTrouble, this.#problem(error.message));
      error.control?.focus();
    }
  }
}
