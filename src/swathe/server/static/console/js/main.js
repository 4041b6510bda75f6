// The console: signs in, and shows the page that the address names after its `#`.

import { clientId, isSignedIn, onSignInNeeded, signIn, signInAgain, signOut } from "./api.js";
import { fill, h, problem, say } from "./dom.js";
import { startTheme } from "./theme.js";
import { showJob } from "./job.js";
import { showJobs } from "./jobs.js";
import { showTry } from "./try.js";

const main = document.getElementById("main");
const dialog = document.getElementById("sign-in");
let shown = null;

/** Pages by pattern. Each gets the place to fill, the parts of the address and its query; it returns `{leave, go?}`. */
const PAGES = [
  [/^\/jobs$/, showJobs, () => "jobs"],
  [/^\/jobs\/([^/]+)(?:\/features\/([^/]+))?$/, showJob, ([id]) => `job ${id}`],
  [/^\/try$/, showTry, () => "try"],
];

async function route() {
  if (location.hash === "#main") return;
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?");
  const wanted = path.replace(/\/+$/, "") || "/jobs";
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href");
    if (here.startsWith("#") && wanted.startsWith(here.slice(1))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const [pattern, show, name] of PAGES) {
    const match = pattern.exec(wanted);
    if (!match) continue;
    const parts = match.slice(1).map((part) => part && decodeURIComponent(part));
    const values = new URLSearchParams(search);
    const key = name(parts);
    if (shown?.key === key && shown.page.go) {
      shown.page.go(parts, values);
      return;
    }
    const before = shown;
    before?.page.leave?.();
    fill(main);
    shown = { key, page: show(main, parts, values) };
    if (before) main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    return;
  }
  shown?.page.leave?.();
  shown = null;
  fill(main, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/jobs" }, "To the jobs")));
}

/** Shows the dialog until a client has signed in. */
function askForClient(why) {
  const [form, trouble] = [dialog.querySelector("form"), document.getElementById("sign-in-problem")];
  const [id, secret] = [document.getElementById("client-id"), document.getElementById("client-secret")];
  const button = document.getElementById("sign-in-button");
  const reason = document.getElementById("sign-in-why");
  reason.dataset.first ??= reason.textContent;
  reason.textContent = why ?? reason.dataset.first;
  trouble.hidden = true;
  if (!dialog.open) dialog.showModal();
  (id.value ? secret : id).focus();
  return new Promise((resolve) => {
    dialog.oncancel = (event) => event.preventDefault();
    form.onsubmit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      trouble.hidden = true;
      try {
        await signIn(id.value.trim(), secret.value);
      } catch (error) {
        trouble.textContent = error.message;
        trouble.hidden = false;
        secret.select();
        return;
      } finally {
        button.disabled = false;
      }
      secret.value = "";
      dialog.close();
      document.getElementById("who").textContent = clientId();
      document.getElementById("sign-out").hidden = false;
      say("Signed in");
      resolve();
    };
  });
}

document.getElementById("sign-out").addEventListener("click", async () => {
  shown?.page.leave?.();
  shown = null;
  fill(main);
  document.getElementById("sign-out").hidden = true;
  document.getElementById("who").textContent = "";
  document.getElementById("client-id").value = "";
  await signOut();
  await signInAgain("You have signed out; the token is refused from now on.");
  route();
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

window.addEventListener("unhandledrejection", ({ reason }) => {
  if (reason?.name === "AbortError") return;
  main.append(problem(reason?.message ?? String(reason)));
});

onSignInNeeded(askForClient);
startTheme(document.getElementById("theme"));
window.addEventListener("hashchange", route);
if (!isSignedIn()) await signInAgain();
route();
