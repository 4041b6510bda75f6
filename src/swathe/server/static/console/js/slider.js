// A slider over the intervals of a job, with buttons to step and to play.

import { h, setText } from "./dom.js";
import * as format from "./format.js";

const FRAME_MS = 700;
const REST_MS = 120;

export class TimeSlider {
  /** `onchange` gets the number of the interval; `ready` gives a promise of when it is drawn, which playing waits for. */
  constructor(onchange, ready) {
    Object.assign(this, { onchange, ready, intervals: [], at: 0, isPlaying: false });
    this.label = h("output.interval");
    this.range = h("input", { type: "range", min: 0, step: 1, "aria-label": "Interval", oninput: () => this.go(Number(this.range.value)) });
    const step = (by, name, text) =>
      h("button.icon", { type: "button", "aria-label": name, title: name, onclick: () => this.go(this.at + by) }, text);
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

  go(number) {
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
    if (this.at === this.intervals.length - 1) this.at = -1;
    while (this.run === run && this.at < this.intervals.length - 1) {
      this.go(this.at + 1);
      const pause = new Promise((resolve) => setTimeout(resolve, FRAME_MS));
      await Promise.all([pause, Promise.race([this.ready(), new Promise((resolve) => setTimeout(resolve, 10_000))])]);
    }
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
