// A plain text area for scripts: line numbers, Tab that indents, Esc and then Tab that leaves.

import { h, setText } from "./dom.js";

const INDENT = "  ";

export class Editor {
  constructor({ id, label }) {
    this.numbers = h("pre.numbers", { "aria-hidden": "true" });
    this.area = h("textarea", { id, spellcheck: false, autocapitalize: "off", wrap: "off", rows: 18, "aria-describedby": `${id}-hint` });
    this.hint = h("span.hint", { id: `${id}-hint` }, "Tab indents; Esc, then Tab, leaves the editor.");
    this.element = h("div.field", {}, [h("label", { htmlFor: id }, label), h("div.editor", {}, [this.numbers, this.area]), this.hint]);
    this.leaves = false;
    this.area.addEventListener("keydown", (event) => this.#onKey(event));
    this.area.addEventListener("input", () => this.#count());
    this.area.addEventListener("blur", () => (this.leaves = false));
    this.area.addEventListener("scroll", () => (this.numbers.scrollTop = this.area.scrollTop));
    this.#count();
  }

  get value() {
    return this.area.value;
  }

  set value(text) {
    this.area.value = text;
    this.#count();
  }

  #count() {
    const lines = this.area.value.split("\n").length;
    if (lines !== this.lines) setText(this.numbers, Array.from({ length: lines }, (_, line) => line + 1).join("\n"));
    this.lines = lines;
  }

  #onKey(event) {
    if (event.key === "Escape") {
      this.leaves = true;
      return;
    }
    if (event.key !== "Tab" || this.leaves || event.ctrlKey || event.altKey || event.metaKey) {
      if (event.key !== "Shift") this.leaves = event.key === "Tab" && this.leaves;
      return;
    }
    event.preventDefault();
    const { area } = this;
    const { selectionStart: start, selectionEnd: end, value } = area;
    const first = value.lastIndexOf("\n", start - 1) + 1;
    if (!event.shiftKey && start === end) {
      this.#insert(INDENT);
      return;
    }
    const block = value.slice(first, end);
    const changed = event.shiftKey ? block.replace(/^ {1,2}/gm, "") : block.replace(/^/gm, INDENT);
    area.setSelectionRange(first, end);
    this.#insert(changed);
    area.setSelectionRange(first, first + changed.length);
  }

  /** As if it had been typed, so that it can be undone. */
  #insert(text) {
    if (!document.execCommand("insertText", false, text)) this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
    this.#count();
  }
}
