// A job's page: how far it is, its map and features, plan, errors, log and request, and what can be done with it.

import { console1, onSignOut } from "./api.js";
import { fill, h, problem, say, setText } from "./dom.js";
import { FeatureList, FeaturePanel } from "./feature.js";
import * as format from "./format.js";
import { Errors, LifeLine, Log, Plan, Requested } from "./jobparts.js";
import { MapView } from "./mapview.js";
import { Poll } from "./poll.js";

const RUNNING = ["ANALYSING", "PROCESSING"];
/** Which actions fit a state; the server has the last word. */
const POSSIBLE = {
  analyse: (job) => job.status === "CREATED",
  start: (job) => ["CREATED", "ANALYSIS_DONE", "STOPPED"].includes(job.status) || (job.status === "ANALYSING" && job.userAction !== "START"),
  stop: (job) => ["ANALYSIS_DONE", ...RUNNING].includes(job.status) && job.userAction !== "STOP",
};
const ACTIONS = { analyse: "Analyse", start: "Start", stop: "Stop" };
let deployment = null;
onSignOut(() => {
  deployment = null;
});

export function showJob(place, [id, feature], values) {
  const page = new JobPage(place, id);
  page.go([id, feature], values);
  return page;
}

class JobPage {
  constructor(place, id) {
    this.id = id;
    this.wanted = null;
    this.title = h("h1", {}, "…");
    this.state = h("span.state");
    this.told = h("p.quiet");
    this.trouble = h("div");
    this.buttons = Object.fromEntries(
      Object.entries(ACTIONS).map(([action, text]) => [
        action,
        h("button", { type: "button", disabled: true, onclick: () => this.#act(action) }, text),
      ]),
    );
    this.buttons.start.classList.add("primary");
    this.bar = h("progress", { max: 100, value: 0, "aria-label": "Progress of the job" });
    this.facts = h("dl.facts");
    this.body = h("div");
    document.title = "Job – Swathe";
    fill(place, [
      h("nav.crumbs", { "aria-label": "Where you are" }, [h("a", { href: "#/jobs" }, "Jobs"), " / ", h("code", {}, id)]),
      h("div.head", {}, [h("div.title", {}, [this.title, this.state]), h("div.row", { role: "group", "aria-label": "Actions" }, Object.values(this.buttons))]),
      this.trouble,
      h("div.progress-line", {}, [this.bar, this.told]),
      this.facts,
      this.body,
    ]);
    this.poll = new Poll((signal) => this.#look(signal), (error) => this.#onProblem(error));
  }

  leave() {
    this.poll.stop();
    for (const part of [this.panel, this.map, this.list]) part?.end();
  }

  go([, feature], values) {
    this.wanted = feature ?? null;
    this.fits = values?.has("fit") ?? false;
    if (this.panel) this.#showFeature();
  }

  #showFeature() {
    if (this.wanted === null) this.panel.hide();
    else this.panel.show(this.wanted, { fits: this.fits || !this.map.map });
    this.split.classList.toggle("has-panel", this.wanted !== null);
  }

  async #look(signal) {
    deployment ??= await console1.deployment();
    const job = await console1.job(this.id, { signal });
    fill(this.trouble);
    const before = this.job;
    this.job = job;
    if (!before) this.#build(job);
    this.#show(job, before);
    return RUNNING.includes(job.status) || (Boolean(job.features) && !job.mapReady);
  }

  #build(job) {
    this.parts = [new LifeLine(), new Plan(), new Errors(job.id), new Requested(), new Log(job.id)];
    this.map = new MapView(job, {
      styleUrl: deployment.styleUrl,
      onpick: (feature) => {
        location.hash = `#/jobs/${this.id}/features/${encodeURIComponent(feature)}`;
      },
      oninterval: () => this.panel.series.redraw(),
    });
    this.panel = new FeaturePanel(job, this.map, {
      onclose: () => {
        location.hash = `#/jobs/${this.id}`;
      },
    });
    this.list = new FeatureList(job);
    this.waiting = h("p.quiet");
    this.split = h("div.split", {}, [this.map.element, this.panel.element, this.list.element]);
    const [life, plan, errors, requested, log] = this.parts.map((part) => part.element);
    fill(this.body, [
      this.waiting,
      this.split,
      h("div.columns", {}, [h("div", {}, [life, plan, errors]), h("div", {}, [requested])]),
      log,
    ]);
  }

  #show(job, before) {
    document.title = `${job.description || "Job"} – Swathe`;
    setText(this.title, job.description || "Untitled");
    setText(this.state, format.status(job));
    this.state.dataset.status = job.status;
    for (const [action, button] of Object.entries(this.buttons)) {
      button.disabled = job.kind === "async" || !POSSIBLE[action](job);
    }
    this.bar.value = job.completionPercentage ?? 0;
    setText(this.told, this.#sentence(job));
    this.#showFacts(job);
    const hasFeatures = Boolean(job.features);
    this.split.hidden = !hasFeatures || !job.mapReady;
    setText(this.waiting, hasFeatures && !job.mapReady ? "The features are being made ready for the map …" : "");
    if (job.resultsError) fill(this.trouble, problem(job.resultsError));
    if (job.error) put(this.trouble, job.error);
    for (const part of this.parts) part.show(job);
    const wasReady = before?.mapReady;
    this.map.update(job);
    if (job.mapReady && !wasReady) {
      this.list.look();
      this.#showFeature();
    } else if (job.mapReady && before.featuresDone !== job.featuresDone) {
      this.list.look();
      if (this.wanted !== null) this.panel.show(this.wanted);
    }
    if (before && before.status !== job.status) say(`The job is now: ${format.status(job)}`);
  }

  #sentence(job) {
    const parts = [format.percent(job.completionPercentage ?? 0)];
    if (job.features) parts.push(`${format.count(job.featuresDone + job.featuresFailed)} of ${format.count(job.features)} features`);
    if (job.status === "PROCESSING") parts.push(job.secondsLeft === null ? "time left not known yet" : `${format.duration(job.secondsLeft)} left`);
    if (job.userAction === "STOP" && RUNNING.includes(job.status)) parts.push("stopping");
    return parts.join(" · ");
  }

  #showFacts(job) {
    const entries = [
      ["Kind", format.KINDS[job.kind] ?? job.kind],
      ["Features", format.count(job.features)],
      ["Done", format.count(job.featuresDone)],
      ["Failed", format.count(job.featuresFailed)],
      ["Cost so far", format.units(job.costPU)],
      ["Created", `${format.time(job.created)} UTC`],
      ["Last change", `${format.time(job.lastUpdated)} UTC`],
      ["Results", job.output ?? "–"],
    ];
    if (this.facts.children.length) {
      entries.forEach(([, text], place) => setText(this.facts.children[place].lastChild, text));
    } else fill(this.facts, entries.map(([name, text]) => h("div", {}, [h("dt", {}, name), h("dd", {}, text)])));
  }

  async #act(action) {
    const button = this.buttons[action];
    button.disabled = true;
    try {
      await console1.act(this.id, action);
      say(`${ACTIONS[action]}: asked for`);
    } catch (error) {
      fill(this.trouble, problem(error.message));
      say(error.message);
      return;
    } finally {
      button.disabled = !this.job || !POSSIBLE[action](this.job);
    }
    await this.poll.now();
    if (document.activeElement === document.body) Object.values(this.buttons).find((one) => !one.disabled)?.focus();
  }

  #onProblem(error) {
    if (error.status === 404) this.poll.stop();
    if (!this.job) setText(this.title, "Job");
    fill(this.trouble, problem(error.message));
  }
}

function put(place, text) {
  place.append(problem(text));
}
