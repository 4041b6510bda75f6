// The colours of scripts. Of a text area: its lines with their numbers, of the part alone that is in sight. The area lies
// above them with letters that are not painted; both have the same font, so letter lies on letter.

import { fill, h } from "./dom.js";
import { cut, START } from "./lexer.js";

/** Scripts with more, or with a longer line, are shown as they are. */
const MOST_CHARS = 2_000_000;
const MOST_LINE_CHARS = 5_000;
/** What is shown as a whole has fewer. */
const MOST_WHOLE_CHARS = 50_000;
/** Rows that are kept ready on both sides of what is in sight. */
const BESIDE = 30;

/** A script with its colours, to be read alone. */
export function coloured(text) {
  const lines = text.split("\n");
  if (text.length > MOST_WHOLE_CHARS || isTooWide(lines)) return text;
  let state = START;
  return lines.map((line, number) => {
    const { pieces, next } = cut(line, state);
    state = next;
    return [number ? "\n" : null, pieces.map(([kind, piece]) => (kind ? h(`span.js-${kind}`, {}, piece) : piece))];
  });
}

function isTooWide(lines) {
  return lines.some((line) => line.length > MOST_LINE_CHARS);
}

export class Layer {
  constructor(area) {
    this.area = area;
    this.numbers = h("div.numbers", { "aria-hidden": "true" }, (this.numberRows = h("span.rows")));
    this.colours = h("div.colours", { "aria-hidden": "true" }, (this.colourRows = h("span.rows")));
    this.lines = [""];
    this.states = [START];
    this.marked = null;
    this.drawn = null;
    area.addEventListener("scroll", () => this.#show());
    new ResizeObserver(() => this.#show()).observe(area);
  }

  /** Takes in the text. A mark stays with its line, and goes when that is changed. */
  read() {
    const before = this.lines;
    const text = this.area.value;
    const now = text.split("\n");
    const fewer = Math.min(before.length, now.length);
    let [head, tail] = [0, 0];
    while (head < fewer && before[head] === now[head]) head += 1;
    while (tail < fewer - head && before[before.length - 1 - tail] === now[now.length - 1 - tail]) tail += 1;
    if (this.marked !== null && this.marked >= head) {
      this.marked = this.marked >= before.length - tail ? this.marked + now.length - before.length : null;
    }
    this.lines = now;
    this.states.length = Math.min(this.states.length, head + 1);
    this.isPlain = text.length > MOST_CHARS || isTooWide(now);
    this.area.classList.toggle("is-plain", this.isPlain);
    this.#redraw();
  }

  /** Marks a line, from 0; none for null and for lines that are not there. */
  mark(line) {
    this.marked = line !== null && line < this.lines.length ? line : null;
    this.#redraw();
  }

  /** Where a line is: its row in pixels from the top of the text, and the place of its first letter. */
  placeOf(line) {
    const last = Math.min(line, this.lines.length - 1);
    let start = 0;
    for (let number = 0; number < last; number += 1) start += this.lines[number].length + 1;
    return { row: last * this.#rowHeight(), start: start + /^[ \t]*/.exec(this.lines[last])[0].length };
  }

  #rowHeight() {
    return Number.parseFloat(getComputedStyle(this.area).lineHeight) || 18;
  }

  #redraw() {
    this.drawn = null;
    this.#show();
  }

  #show() {
    const { area, lines } = this;
    if (!area.clientHeight) return;
    const high = this.#rowHeight();
    const first = Math.floor(area.scrollTop / high);
    const last = Math.min(lines.length, Math.ceil((area.scrollTop + area.clientHeight) / high) + 1);
    if (!this.drawn || first < this.drawn[0] || last > this.drawn[1]) {
      this.#draw(Math.max(0, first - BESIDE), Math.min(lines.length, last + BESIDE));
    }
    const top = this.drawn[0] * high - area.scrollTop;
    this.numberRows.style.transform = `translateY(${top}px)`;
    this.colourRows.style.transform = `translate(${-area.scrollLeft}px, ${top}px)`;
  }

  #draw(first, last) {
    const { lines, states, marked } = this;
    this.drawn = [first, last];
    // Steady for scripts of usual length: another width has the whole text laid out anew.
    this.numbers.style.minWidth = `calc(${Math.max(3, String(lines.length).length)}ch + 28px)`;
    const rows = Array.from({ length: last - first }, (_, row) => first + row);
    const name = (line) => (line === marked ? "span.line.marked" : "span.line");
    fill(this.numberRows, rows.map((line) => h(name(line), {}, line + 1)));
    for (let line = states.length - 1; line < last && !this.isPlain; line += 1) states[line + 1] = cut(lines[line], states[line]).next;
    // As generated content, so that the page's own search finds a text once, in the text area.
    const piece = ([kind, text]) => h(kind ? `span.js-${kind}` : "span", { "data-text": text });
    fill(this.colourRows, rows.map((line) => h(name(line), {}, this.isPlain ? [] : cut(lines[line], states[line]).pieces.map(piece))));
  }
}
