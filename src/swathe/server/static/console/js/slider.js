// A slider over the intervals of a job, with buttons to step and to play.

import { h, setText } from "./dom.js";
import * as format from "./format.js";

const FRAME_MS = 700;
const REST_MS = 120;

export class TimeSlider {
  /** `onchange` gets the number of the interval; `ready` gives a promise of when it is drawn, which playing waits for. */
  constructor(onchange, ready) {
    Object.assign(this, { onchange, ready, intervals: [], counts: [], at: 0, isPlaying: false, isMoved: false });
    this.label = h("output.interval");
    this.range = h("input", { type: "range", min: 0, step: 1, "aria-label": "Interval", oninput: () => this.go(Number(this.range.value)) });
    const step = (by, name, text) =>
      h("button.icon", { type: "button", "aria-label": name, title: name, onclick: () => this.go(this.#next(by)) }, text);
    this.button = h("button.icon", { type: "button", onclick: () => (this.isPlaying ? this.pause() : this.play()) });
    this.element = h("div.slider", { role: "group", "aria-label": "Time", hidden: true }, [
      step(-1, "Interval before", "‹"),
      this.button,
      step(1, "Interval after", "›"),
      this.range,
      this.label,
    ]);
    this.#tell();
  }

  /** Shows these intervals; hides itself where there is nothing to choose. */
  show(intervals) {
    this.intervals = intervals;
    this.element.hidden = intervals.length === 0;
    if (!intervals.length) this.pause();
    this.at = Math.min(this.at, Math.max(0, intervals.length - 1));
    this.range.max = Math.max(0, intervals.length - 1);
    this.#tell();
  }

  /** How many features have a value in each interval: those without any are stepped over, and until somebody has moved the
   * slider it does not stand on one. Returns whether it stands elsewhere now. */
  weigh(counts) {
    this.counts = counts;
    const most = counts.reduce((one, other) => Math.max(one, other), 0);
    if (this.isMoved || !most || counts[this.at] !== 0) return false;
    this.at = counts.findIndex((count) => 2 * count >= most);
    this.#tell();
    return true;
  }

  #next(by) {
    let at = this.at + by;
    while (this.counts[at] === 0) at += by;
    return at in this.intervals ? at : this.at;
  }

  go(number) {
    this.isMoved = true;
    const wanted = Math.min(this.intervals.length - 1, Math.max(0, number));
    if (wanted === this.at) return;
    this.at = wanted;
    this.#tell();
    clearTimeout(this.timer);
    if (this.isPlaying) this.onchange(wanted);
    else this.timer = setTimeout(() => this.onchange(this.at), REST_MS);
  }

  async play() {
    const run = (this.run = {});
    this.isPlaying = true;
    this.#tell();
    if (this.#next(1) === this.at) this.at = -1;
    while (this.run === run && this.#next(1) !== this.at) {
      this.go(this.#next(1));
      const pause = new Promise((resolve) => setTimeout(resolve, FRAME_MS));
      await Promise.all([pause, Promise.race([this.ready(), new Promise((resolve) => setTimeout(resolve, 10_000))])]);
    }
    this.at = Math.max(0, this.at);
    if (this.run === run) this.pause();
  }

  pause() {
    this.run = null;
    this.isPlaying = false;
    this.#tell();
  }

  end() {
    this.pause();
    clearTimeout(this.timer);
  }

  #tell() {
    const interval = this.intervals[this.at];
    const text = interval ? format.interval(interval) : "";
    this.range.value = this.at;
    this.range.setAttribute("aria-valuetext", text);
    setText(this.label, text ? `${text} (${this.at + 1} of ${this.intervals.length})` : "");
    setText(this.button, this.isPlaying ? "❚❚" : "▶");
    this.button.setAttribute("aria-label", this.isPlaying ? "Pause" : "Play");
    this.button.title = this.isPlaying ? "Pause" : "Play";
  }
}
