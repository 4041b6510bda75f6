// The parts of a job's page that tell: life line, plan, errors, request, log.

import { console1 } from "./api.js";
import { download, fill, h, problem, setText } from "./dom.js";
import * as format from "./format.js";
import { coloured } from "./layer.js";

const STATE_LINE = /^([A-Z_]+)(?:: (?:([A-Z_]+) -> )?([A-Z_]+)\b)?(.*)$/s;
const KNOWN = new Set(format.STATUSES.map(([name]) => name));

function section(title, id, ...children) {
  return h("section", { "aria-labelledby": id }, [h("h2", { id }, title), children]);
}

/** The states that a job went through, with how long each took. */
export class LifeLine {
  constructor() {
    this.list = h("ol.life");
    this.element = section("Life line", "life-title", this.list);
  }

  async show(job) {
    const last = job.events.at(-1)?.number;
    if (last === this.last) return;
    this.last = last;
    const first = job.events[0]?.number ?? 1;
    if (first > 1 && !this.early) this.early = (await console1.events(job.id, 0)).data;
    const lines = [...(this.early ?? []).filter((line) => line.number < first), ...job.events];
    const steps = lines.flatMap((line) => {
      const match = STATE_LINE.exec(line.message);
      const to = match && (match[3] ?? match[1]);
      return match && KNOWN.has(to) ? [{ ...line, to, by: match[3] ? match[1] : null }] : [];
    });
    fill(this.list, steps.map((step, place) => {
      const next = steps[place + 1];
      const took = next ? (Date.parse(next.at) - Date.parse(step.at)) / 1000 : null;
      return h("li", { "data-status": step.to }, [
        h("b", {}, format.status({ status: step.to })),
        step.by && step.by !== step.to ? h("span.quiet", {}, ` ${step.by.toLowerCase().replaceAll("_", " ")}`) : null,
        h("time", { dateTime: step.at }, format.time(step.at)),
        took === null ? null : h("span.took", {}, format.duration(took)),
      ]);
    }));
  }
}

/** What the analysis found, and what it will cost. */
export class Plan {
  constructor() {
    this.place = h("div");
    this.element = section("Plan and cost", "plan-title", this.place);
  }

  show(job) {
    const key = JSON.stringify([job.plan, job.notes, job.costPU]);
    if (key === this.key) return;
    this.key = key;
    const { plan } = job;
    const pair = (name, text) => h("div", {}, [h("dt", {}, name), h("dd", {}, text)]);
    fill(this.place, [
      plan
        ? h("dl.pairs", {}, [
            pair("Features", format.count(plan.features)),
            pair("Scenes", format.count(plan.scenes)),
            pair("Units of work", format.count(plan.units)),
            pair("Blocks to read", format.count(plan.blocks)),
            pair("To be read", format.bytes(plan.bytesToRead)),
            pair("Estimated time", format.duration(plan.estimatedSeconds)),
            pair("Estimated cost", format.units(plan.estimatedPU)),
            pair("Cost so far", format.units(job.costPU)),
          ])
        : h("p.quiet", {}, "The plan is made by the analysis."),
      (job.notes ?? []).length ? h("ul.notes", {}, job.notes.map((note) => h("li", {}, note))) : null,
    ]);
  }
}

/** Why features failed, the most frequent reason first. */
export class Errors {
  constructor(id) {
    this.id = id;
    this.place = h("div");
    this.element = section("Errors", "errors-title", this.place);
  }

  async show(job) {
    const key = `${job.featuresFailed} ${job.status}`;
    if (key === this.key) return;
    this.key = key;
    let reasons;
    try {
      reasons = (await console1.errors(this.id)).data;
    } catch (error) {
      this.key = null;
      fill(this.place, problem(error.message));
      return;
    }
    if (!reasons.length) {
      fill(this.place, h("p.quiet", {}, "No feature has failed."));
      return;
    }
    fill(this.place, h("ul.reasons", {}, reasons.map((one) => h("li", {}, [
      h("p", {}, [h("b.count", {}, format.count(one.count)), " ", h("span.why", {}, one.reason)]),
      h("details", {}, [
        h("summary", {}, one.count > one.features.length ? `The first ${one.features.length} features` : "Features"),
        h("p.ids", {}, one.features.map((feature) => [h("a", { href: `#/jobs/${this.id}/features/${feature}?fit=1` }, String(feature)), " "])),
      ]),
    ]))));
  }
}

/** The body of the request, its script apart. */
export class Requested {
  constructor() {
    this.script = h("pre.code", { tabIndex: 0, "aria-label": "Evalscript" });
    this.body = h("pre.code", { tabIndex: 0, "aria-label": "Request" });
    const save = h("button", { type: "button", onclick: () => download(JSON.stringify(this.request, null, 2), "request.json") }, "Download");
    this.scriptPart = h("details", { open: true }, [h("summary", {}, "Evalscript"), this.script]);
    this.element = section("Request", "request-title", h("div.row", {}, [save]), this.scriptPart, h("details", {}, [h("summary", {}, "Body"), this.body]));
  }

  show({ request }) {
    if (this.request) return;
    this.request = request;
    const script = request?.aggregation?.evalscript ?? request?.evalscript ?? request?.processRequest?.evalscript;
    this.scriptPart.hidden = !script;
    fill(this.script, coloured(script ?? ""));
    setText(this.body, JSON.stringify(request, null, 2));
  }
}

/** The log, newest first. */
export class Log {
  constructor(id) {
    this.id = id;
    this.body = h("tbody");
    this.only = h("input", { type: "checkbox", id: "log-only", onchange: () => this.#draw() });
    this.element = section("Log", "log-title", [
      h("p.check", {}, [this.only, h("label", { htmlFor: "log-only" }, "Warnings and errors only")]),
      h("div.scroll.short", { tabIndex: 0, role: "region", "aria-label": "Lines of the log" }, h("table.log", {}, [
        h("caption.unseen", {}, "The last 200 lines, newest first"),
        h("thead", {}, h("tr", {}, [
          h("th", { scope: "col" }, "Time (UTC)"),
          h("th", { scope: "col" }, "Level"),
          h("th.number", { scope: "col" }, "Unit"),
          h("th", { scope: "col" }, "Message"),
        ])),
        this.body,
      ])),
    ]);
  }

  show({ events }) {
    if (events.at(-1)?.number === this.last) return;
    this.last = events.at(-1)?.number;
    this.events = events;
    this.#draw();
  }

  #draw() {
    const shown = (this.events ?? []).filter((line) => !this.only.checked || line.level !== "info");
    fill(this.body, [...shown].reverse().map((line) => h("tr", { "data-level": line.level }, [
      h("td", {}, h("time", { dateTime: line.at }, format.time(line.at))),
      h("td", {}, line.level),
      h("td.number", {}, line.unit === undefined ? "" : String(line.unit)),
      h("td.message", {}, line.message),
    ])));
    if (!shown.length) fill(this.body, h("tr", {}, h("td.quiet", { colSpan: 4 }, "Nothing")));
  }
}
