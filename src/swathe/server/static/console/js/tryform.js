// What is filled in to try a script: field, data, times, resolution, script; and where a batch request reads and writes.

import { console1 } from "./api.js";
import { choice, field, fill, h, setText } from "./dom.js";
import { Editor } from "./editor.js";
import { exampleFor, readGeometry } from "./tryrequest.js";

const INTERVALS = ["P1D", "P5D", "P10D", "P1M", "P1Y"];

function invalid(message, control) {
  return Object.assign(new Error(message), { control });
}

export class TryForm {
  constructor(onrun, onbatch, preview) {
    this.preview = preview;
    this.data = null;
    this.area = h("textarea", { rows: 4, spellcheck: false, placeholder: '{"type": "Polygon", "coordinates": [[[15.01, 46.02], …]]}' });
    this.source = h("span.quiet");
    this.job = choice([["", "–"]], "");
    this.feature = h("input", { spellcheck: false, placeholder: "id or identifier" });
    this.takeTrouble = h("span.hint", { role: "status" });
    this.collection = h("select", { onchange: () => this.#otherCollection() });
    this.clouds = h("input.short", { type: "number", min: 0, max: 100, step: "any", placeholder: "any" });
    this.from = h("input", { placeholder: "2024-03-01", spellcheck: false, size: 12 });
    this.to = h("input", { placeholder: "2024-10-01", spellcheck: false, size: 12 });
    this.of = h("input", { value: "P10D", size: 6, list: "durations", spellcheck: false });
    this.resolution = h("input.short", { type: "number", min: 0, step: "any", value: "10" });
    this.unit = choice([["m", "metres (UTM)"], ["deg", "degrees"]], "m");
    this.percentiles = h("input", { size: 12, placeholder: "10, 50, 90", spellcheck: false });
    this.script = new Editor({ id: "script", label: "Evalscript" });
    this.script.value = this.example = exampleFor([]);
    this.element = h("form.stack", { onsubmit: (event) => (event.preventDefault(), onrun()), oninput: () => this.showPreview() }, [
      this.#fieldPart(),
      this.#dataPart(),
      this.script.element,
      h("div.row", {}, h("button.primary", {}, "Try it")),
      this.#batchPart(onbatch),
    ]);
  }

  #fieldPart() {
    const take = h("button", { type: "button", onclick: () => this.#take() }, "Take it");
    return h("fieldset", {}, [
      h("legend", {}, "Field"),
      h("div.filters", {}, [field("From the job", this.job), field("feature", this.feature), h("div.field.end", {}, take)]),
      this.takeTrouble,
      field("or GeoJSON, in longitude and latitude", this.area),
      this.source,
    ]);
  }

  #dataPart() {
    return h("fieldset", {}, [
      h("legend", {}, "Data and times"),
      h("datalist", { id: "durations" }, INTERVALS.map((value) => h("option", { value }))),
      h("div.filters", {}, [
        field("Collection", this.collection),
        field("Clouds at most, %", this.clouds),
        field("From (UTC)", this.from),
        field("To, not included", this.to),
        field("Interval", this.of),
        field("Resolution", this.resolution),
        field("in", this.unit),
        field("Percentiles", this.percentiles),
      ]),
      (this.bands = h("p.hint")),
    ]);
  }

  #batchPart(onbatch) {
    this.featuresUrl = h("input", { placeholder: "s3://bucket/parcels.gpkg", spellcheck: false, size: 34 });
    this.outputUrl = h("input", { placeholder: "s3://bucket/results", spellcheck: false, size: 34 });
    this.description = h("input", { size: 34, maxLength: 200 });
    this.accessKey = h("input", { autocomplete: "off", spellcheck: false });
    this.secretAccessKey = h("input", { type: "password", autocomplete: "off" });
    this.batchTrouble = h("div");
    const shown = h("pre.code", { tabIndex: 0 });
    const details = h("details", { ontoggle: () => this.showPreview() }, [h("summary", {}, "The request"), shown]);
    this.showPreview = () => details.open && setText(shown, this.preview());
    return h("fieldset", {}, [
      h("legend", {}, "For all fields: a batch request"),
      h("div.filters", {}, [
        field("GeoPackage", this.featuresUrl),
        field("Results", this.outputUrl),
        field("Description", this.description),
        field("Access key, if the bucket needs one", this.accessKey),
        field("Secret access key", this.secretAccessKey),
      ]),
      h("p.hint", {}, "The resolution is then in units of the GeoPackage's CRS."),
      details,
      this.batchTrouble,
      h("div.row", {}, h("button", { type: "button", onclick: onbatch }, "Create the batch request")),
    ]);
  }

  offer(collections) {
    this.collections = collections;
    const before = this.collection.value;
    fill(this.collection, collections.map(({ type, title }) => h("option", { value: type }, title && title !== type ? `${title} (${type})` : type)));
    if (before) this.collection.value = before;
    this.#otherCollection();
  }

  offerJobs(jobs) {
    const before = this.job.value;
    fill(this.job, jobs.map(({ id, description }) => h("option", { value: id }, description || id)));
    if (jobs.some(({ id }) => id === before)) this.job.value = before;
  }

  #otherCollection() {
    const { value } = this.collection;
    if (!this.data || this.data[0]?.type !== value) this.data = [{ type: value }];
    const bands = this.collections?.find(({ type }) => type === value)?.bands ?? [];
    const isUntouched = this.script.value === this.example;
    this.example = exampleFor(bands);
    if (isUntouched) this.script.value = this.example;
    setText(this.bands, bands.length ? `Bands: ${bands.map(({ name }) => name).join(", ")}` : "");
  }

  async #take() {
    const id = this.job.value;
    try {
      if (!id) throw new Error("There is no job with features yet.");
      const { data } = await console1.features(id, this.feature.value.trim(), 1);
      if (!data.length) throw new Error("No feature begins like that.");
      const [job, feature] = await Promise.all([console1.job(id), console1.feature(id, data[0].id)]);
      this.takeJob(job);
      this.takeFeature(feature);
      setText(this.takeTrouble, "");
    } catch (error) {
      setText(this.takeTrouble, error.message);
    }
  }

  /** Fills in what a statistical job asked for. */
  takeJob({ id, description, request, kind }) {
    const { input, aggregation, calculations, output } = request ?? {};
    if (kind !== "statistics" || !aggregation) return;
    if (![...this.job.options].some((one) => one.value === id)) this.job.append(h("option", { value: id }, description || id));
    this.job.value = id;
    this.data = structuredClone(input.data);
    const type = this.data[0]?.type;
    if (type && ![...this.collection.options].some((one) => one.value === type)) this.collection.append(h("option", { value: type }, type));
    this.collection.value = type;
    this.#otherCollection();
    this.clouds.value = this.data[0]?.dataFilter?.maxCloudCoverage ?? "";
    this.from.value = aggregation.timeRange.from.replace(/T00:00:00(\.0+)?Z$/, "");
    this.to.value = aggregation.timeRange.to.replace(/T00:00:00(\.0+)?Z$/, "");
    this.of.value = aggregation.aggregationInterval.of;
    if (aggregation.resx) {
      this.resolution.value = aggregation.resx;
      this.unit.value = aggregation.resx < 0.05 ? "deg" : "m";
    }
    this.script.value = aggregation.evalscript ?? this.example;
    const first = Object.values(Object.values(calculations ?? {})[0]?.statistics ?? {})[0];
    this.percentiles.value = (first?.percentiles?.k ?? []).join(", ");
    this.featuresUrl.value = input.features?.s3?.url ?? "";
    this.outputUrl.value = output?.s3?.url ?? "";
  }

  takeFeature({ id, name, geometry }) {
    this.area.value = JSON.stringify(geometry);
    this.feature.value = name || String(id);
    setText(this.source, `${name || `Feature ${id}`}`);
  }

  /** What is filled in; raises an Error with the `control` that has to be mended. */
  read({ needsField = true } = {}) {
    let geometry = null;
    if (needsField) {
      try {
        geometry = readGeometry(this.area.value);
      } catch (error) {
        throw invalid(error.message, this.area);
      }
    }
    for (const [control, name] of [[this.from, "From"], [this.to, "To"]]) {
      if (Number.isNaN(Date.parse(control.value))) throw invalid(`${name} must be a day like 2024-03-01, or an ISO time.`, control);
    }
    const resolution = this.resolution.valueAsNumber;
    if (!(resolution > 0)) throw invalid("The resolution must be a number above 0.", this.resolution);
    const percentiles = this.percentiles.value.split(/[\s,;]+/).filter(Boolean).map(Number);
    if (percentiles.some((one) => !(one >= 0 && one <= 100))) throw invalid("Percentiles are numbers from 0 to 100.", this.percentiles);
    return {
      geometry,
      data: this.data,
      clouds: this.clouds.value === "" ? null : this.clouds.valueAsNumber,
      from: this.from.value.trim(),
      to: this.to.value.trim(),
      of: this.of.value.trim(),
      resolution,
      isMetres: this.unit.value === "m",
      percentiles,
      script: this.script.value,
    };
  }

  readBatch() {
    for (const control of [this.featuresUrl, this.outputUrl]) {
      if (!/^s3:\/\/\S+/.test(control.value.trim())) throw invalid("GeoPackage and results need addresses like s3://bucket/path.", control);
    }
    return {
      featuresUrl: this.featuresUrl.value.trim(),
      outputUrl: this.outputUrl.value.trim(),
      description: this.description.value.trim(),
      keys: { accessKey: this.accessKey.value.trim(), secretAccessKey: this.secretAccessKey.value },
    };
  }

  forgetKeys() {
    this.accessKey.value = this.secretAccessKey.value = "";
  }

  #controls() {
    const { area, collection, clouds, from, to, of, resolution, unit, percentiles, script } = this;
    const { featuresUrl, outputUrl, description } = this;
    return { area, collection, clouds, from, to, of, resolution, unit, percentiles, script, featuresUrl, outputUrl, description };
  }

  /** What was filled in, without keys, to be given to `restore`. */
  state() {
    const values = Object.entries(this.#controls()).map(([name, control]) => [name, control.value]);
    return { values: Object.fromEntries(values), data: this.data };
  }

  restore({ values, data }) {
    for (const [name, control] of Object.entries(this.#controls())) control.value = values[name];
    this.data = data;
    this.#otherCollection();
  }
}
