// Light or dark: as the system says, or as the user does.

const KEY = "swathe-colours";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();

function chosen() {
  try {
    return localStorage.getItem(KEY) ?? "auto";
  } catch {
    return "auto";
  }
}

export function isDark() {
  const choice = document.documentElement.dataset.theme;
  return choice === "dark" || (choice !== "light" && dark.matches);
}

/** Calls `changed` when the colours change; returns what ends that. */
export function onTheme(changed) {
  listeners.add(changed);
  return () => listeners.delete(changed);
}

function show(choice) {
  if (choice === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  for (const changed of listeners) changed();
}

export function startTheme(select) {
  select.value = chosen();
  show(select.value);
  select.addEventListener("change", () => {
    try {
      localStorage.setItem(KEY, select.value);
    } catch {
      // Not kept then.
    }
    show(select.value);
  });
  dark.addEventListener("change", () => show(select.value));
}
