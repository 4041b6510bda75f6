// Elements made by hand. Text goes in as text alone: scripts, identifiers and errors come from strangers.

/** An element; `properties` are its properties, `on…` listeners, and attributes for names with a dash or `role`. */
export function h(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name || "div");
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for" || key === "scope" || key === "list") {
      made.setAttribute(key, value);
    } else made[key] = value;
  }
  put(made, children);
  return made;
}

/** Adds children: elements, texts, arrays of them; nothing for null and false. */
export function put(parent, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
  return parent;
}

/** Replaces what is in an element. */
export function fill(parent, ...children) {
  parent.replaceChildren();
  return put(parent, children);
}

/** Changes a text only where it differs, so that screen readers and selections are left alone. */
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = String(text);
}

/** Tells screen readers, politely. */
export function say(text) {
  setText(document.getElementById("said"), text);
}

/** A line about what went wrong, a text or parts of one, to be shown where it happened. */
export function problem(told) {
  return h("p.problem", { role: "alert" }, told);
}

let numbers = 0;

/** A labelled control: the label above, an optional hint below. */
export function field(label, control, hint) {
  control.id ||= `field-${(numbers += 1)}`;
  const parts = [h("label", { htmlFor: control.id }, label), control];
  if (hint) {
    const id = `${control.id}-hint`;
    control.setAttribute("aria-describedby", id);
    parts.push(h("span.hint", { id }, hint));
  }
  return h("div.field", {}, parts);
}

/** A `<select>` of [value, text] pairs. */
export function choice(pairs, value, onchange) {
  const made = h("select", { onchange }, pairs.map(([key, text]) => h("option", { value: key }, text)));
  if (value !== undefined && pairs.some(([key]) => key === value)) made.value = value;
  return made;
}

/** Text as a file of the user's. */
export function download(text, name, type = "application/json") {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

let probe = null;

/** The colour that the style sheet gives a name, as `rgb(…)`. */
export function cssColor(name) {
  if (!probe) document.body.append((probe = h("span", { hidden: true })));
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
