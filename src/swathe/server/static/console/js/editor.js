// An editor for scripts: a text area as the browser has it, with line numbers and colours beneath what is written in it.
// Tab indents; Esc and then Tab leaves. Undo, redo and paste are the browser's own.

import { h, say, setText } from "./dom.js";
import { Layer } from "./layer.js";

const INDENT = "  ";
/** The browser takes some milliseconds for each line of what is typed. */
const MOST_INDENTED = 300;
const HINT = "Tab indents; Esc, then Tab, leaves the editor.";

export class Editor {
  constructor({ id, label }) {
    this.area = h("textarea", { id, spellcheck: false, autocapitalize: "off", autocomplete: "off", wrap: "off", rows: 18 });
    this.hint = h("span.hint", { id: `${id}-hint` });
    this.fault = h("span.fault", { id: `${id}-fault`, hidden: true });
    this.area.setAttribute("aria-describedby", `${this.hint.id} ${this.fault.id}`);
    this.layer = new Layer(this.area);
    const { numbers, colours } = this.layer;
    this.editor = h("div.editor", {}, [numbers, h("div.written", {}, [colours, this.area])]);
    this.element = h("div.field", {}, [h("label", { htmlFor: id }, label), this.editor, this.fault, this.hint]);
    this.leaves = false;
    this.area.addEventListener("keydown", (event) => this.#onKey(event));
    // Once a picture: the browser tells of each line of an indented block by itself.
    this.area.addEventListener("input", () => (this.due ??= requestAnimationFrame(() => this.#onText())));
    this.area.addEventListener("blur", () => (this.leaves = false));
    this.#onText();
  }

  get value() {
    return this.area.value;
  }

  set value(text) {
    if (this.area.value !== text) this.area.value = text;
    this.forgive();
    this.#onText();
  }

  get isBlamed() {
    return this.layer.marked !== null;
  }

  /** Marks a line, from 1, and tells why beneath the editor; what is read with the text area has it too. */
  blame(line, why) {
    this.layer.mark(line - 1);
    this.area.setAttribute("aria-invalid", "true");
    setText(this.fault, `Line ${line}: ${why}`);
    this.fault.hidden = false;
  }

  /** Takes the mark away. */
  forgive() {
    this.layer.mark(null);
    this.area.removeAttribute("aria-invalid");
    setText(this.fault, "");
    this.fault.hidden = true;
  }

  /** Puts the cursor at the beginning of the marked line, which may have moved since, else of a line counted from 1. */
  goTo(line) {
    const { area, layer } = this;
    const { row, start } = layer.placeOf(layer.marked ?? line - 1);
    area.focus({ preventScroll: true });
    area.setSelectionRange(start, start);
    area.scrollTop = row - area.clientHeight / 2;
    area.scrollLeft = 0;
    area.scrollIntoView({ block: "nearest" });
  }

  #onText() {
    this.due = null;
    const wasBlamed = this.isBlamed;
    this.layer.read();
    if (wasBlamed && !this.isBlamed) this.forgive();
    setText(this.hint, this.layer.isPlain ? `${HINT} Lines as long as these have no colours.` : HINT);
  }

  #onKey(event) {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      this.leaves = true;
      return;
    }
    const isPlain = !event.ctrlKey && !event.altKey && !event.metaKey;
    if (event.key === "Enter" && isPlain && !event.shiftKey) this.#breakLine(event);
    if (event.key !== "Tab" || this.leaves || !isPlain) {
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
    if (block.split("\n").length > MOST_INDENTED) {
      setText(this.hint, `${HINT} It takes ${MOST_INDENTED} lines at a time.`);
      say(this.hint.textContent);
      return;
    }
    const changed = event.shiftKey ? block.replace(/^ {1,2}/gm, "") : block.replace(/^/gm, INDENT);
    area.setSelectionRange(first, end);
    this.#insert(changed);
    area.setSelectionRange(first, first + changed.length);
  }

  /** The next line begins where this one does, and further in behind an open brace. */
  #breakLine(event) {
    const { selectionStart: start, value } = this.area;
    const before = value.slice(value.lastIndexOf("\n", start - 1) + 1, start);
    const indent = /^[ \t]*/.exec(before)[0] + (/[[{(]\s*$/.test(before) ? INDENT : "");
    if (!indent) return;
    event.preventDefault();
    this.#insert(`\n${indent}`);
  }

  /** As if it had been typed, so that it can be undone. */
  #insert(text) {
    if (document.execCommand("insertText", false, text)) return;
    this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
    this.#onText();
  }
}
