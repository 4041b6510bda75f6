// The list of jobs, newest first, live.

import { console1, isOperator, onSignOut } from "./api.js";
import { choice, field, fill, h, problem, setText } from "./dom.js";
import * as format from "./format.js";
import { Poll } from "./poll.js";

const PAGE = 50;
const RUNNING = ["ANALYSING", "PROCESSING"];

/** Whether an operator wants to see the jobs of all projects; kept while pages change. */
let isForAll = false;
const showsAll = () => isForAll && isOperator();
onSignOut(() => {
  isForAll = false;
});

export function showJobs(place) {
  document.title = "Jobs – Swathe";
  const body = h("tbody");
  const told = h("p.quiet", {}, "Loading …");
  const trouble = h("div");
  const more = h("button", { type: "button", hidden: true, onclick: () => grow() }, "Older jobs");
  const search = h("input", { type: "search", placeholder: "id or description", spellcheck: false });
  const kind = choice([["", "All kinds"], ...Object.entries(format.KINDS)], "");
  const status = choice([["", "All states"], ...format.STATUSES], "");
  const all = h("input", { type: "checkbox", id: "jobs-all", checked: isForAll });
  const rows = new Map();
  let wanted = PAGE;
  let timer;

  const filters = h("form.filters", { role: "search", onsubmit: (event) => event.preventDefault() }, [
    field("Search", search),
    field("Kind", kind),
    field("State", status),
    isOperator() ? h("p.check.end", {}, [all, h("label", { htmlFor: "jobs-all" }, "Jobs of all projects")]) : null,
  ]);
  const again = () => {
    wanted = PAGE;
    poll.now();
  };
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(again, 250);
  });
  kind.addEventListener("change", again);
  status.addEventListener("change", again);
  all.addEventListener("change", () => {
    isForAll = all.checked;
    again();
  });
  const grow = () => {
    wanted += PAGE;
    poll.now();
  };

  const table = h("table.jobs", {}, [
    h("caption.unseen", {}, "Jobs, newest first"),
    h("thead", {}, h("tr", {}, [
      h("th", { scope: "col" }, "Job"),
      h("th", { scope: "col" }, "Kind"),
      h("th", { scope: "col" }, "State"),
      h("th", { scope: "col" }, "Progress"),
      h("th.number", { scope: "col" }, "Features"),
      h("th.number", { scope: "col" }, "Failed"),
      h("th.number", { scope: "col" }, "Cost"),
      h("th.number", { scope: "col" }, "Time left"),
      h("th", { scope: "col" }, "Created (UTC)"),
    ])),
    body,
  ]);
  fill(place, [
    h("div.head", {}, [
      h("h1", {}, "Jobs"),
      h("a.button", { href: "#/try" }, "Try a script"),
    ]),
    filters,
    trouble,
    h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Jobs" }, table),
    told,
    more,
  ]);

  async function look(signal) {
    const lines = [];
    let token;
    do {
      const values = { q: search.value.trim(), kind: kind.value, status: status.value, count: PAGE, viewtoken: token, project: showsAll() ? "all" : null };
      const page = await console1.jobs(values, { signal });
      lines.push(...page.data);
      token = page.links.nextToken;
    } while (token && lines.length < wanted);
    fill(trouble);
    show(lines);
    more.hidden = !token;
    return lines.some((line) => RUNNING.includes(line.status));
  }

  function show(lines) {
    const seen = new Set(lines.map((line) => line.id));
    for (const [id, row] of rows) {
      if (!seen.has(id)) {
        row.element.remove();
        rows.delete(id);
      }
    }
    lines.forEach((line, number) => {
      let row = rows.get(line.id);
      if (!row) rows.set(line.id, (row = new Row(line)));
      row.show(line);
      if (body.children[number] !== row.element) body.insertBefore(row.element, body.children[number] ?? null);
    });
    const isFiltered = search.value.trim() || kind.value || status.value;
    if (lines.length) setText(told, `${format.count(lines.length)} ${lines.length === 1 ? "job" : "jobs"} shown`);
    else if (isFiltered) setText(told, "No job is like that.");
    else fill(told, "No jobs yet. ", h("a", { href: "#/try" }, "Try a script on a field"), ", and make a job of it.");
    table.hidden = !lines.length;
  }

  const poll = new Poll(look, (error) => fill(trouble, problem(error.message)));
  return {
    leave() {
      clearTimeout(timer);
      poll.stop();
    },
  };
}

/** A line of the table, changed in place. */
class Row {
  constructor(line) {
    this.link = h("a", { href: `#/jobs/${line.id}` });
    this.state = h("span.state");
    this.bar = h("progress", { max: 100, "aria-label": "Progress" });
    this.share = h("span.share");
    this.cells = Object.fromEntries(["features", "failed", "cost", "left"].map((name) => [name, h("td.number")]));
    this.element = h("tr", {}, [
      h("th", { scope: "row" }, [this.link, h("span.id", {}, line.id), (this.project = h("span.id", {}, `project ${line.project}`))]),
      h("td", {}, format.KINDS[line.kind] ?? line.kind),
      h("td", {}, this.state),
      h("td.progress", {}, [this.bar, this.share]),
      Object.values(this.cells),
      h("td.when", {}, h("time", { dateTime: line.created }, format.time(line.created).slice(0, 16))),
    ]);
  }

  show(line) {
    this.project.hidden = !showsAll();
    setText(this.link, line.description || "Untitled");
    this.link.classList.toggle("untitled", !line.description);
    setText(this.state, format.status(line));
    this.state.dataset.status = line.status;
    const hasEndedEarly = line.status === "FAILED" && !line.features;
    this.bar.hidden = hasEndedEarly;
    this.bar.value = line.completionPercentage ?? 0;
    setText(this.share, hasEndedEarly ? "–" : format.percent(line.completionPercentage ?? 0));
    const { features, failed, cost, left } = this.cells;
    setText(features, line.features ? `${format.count(line.featuresDone)} / ${format.count(line.features)}` : "–");
    setText(failed, line.featuresFailed ? format.count(line.featuresFailed) : "–");
    failed.classList.toggle("bad", Boolean(line.featuresFailed));
    setText(cost, line.costPU ? format.units(line.costPU) : "–");
    setText(left, line.secondsLeft === null ? "–" : format.duration(line.secondsLeft));
  }
}
