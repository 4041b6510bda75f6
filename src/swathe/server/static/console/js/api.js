// Requests to this server. The token lives in this module's variable and nowhere else.

const ROOT = new URL("../../../", import.meta.url);

let token = null;
let who = null;
let isAdmin = false;
let asked = null;
let askForClient = null;
const forgetting = [];

/** What the server says no with. `fields` has messages by the name of a field. */
export class Refused extends Error {
  constructor(status, message, fields = {}) {
    super(message);
    Object.assign(this, { status, fields });
  }
}

/** Sets what shows the sign-in dialog: given a reason, it resolves when `signIn` has succeeded. */
export function onSignInNeeded(ask) {
  askForClient = ask;
}

export function address(path) {
  return new URL(path.replace(/^\//, ""), ROOT).href;
}

export function isSignedIn() {
  return token !== null;
}

export function clientId() {
  return who;
}

/** Whether the token has the scope admin, for which the requests of all projects are there. */
export function isOperator() {
  return isAdmin;
}

/** The header for our own addresses; none for those of others, whatever a style names. */
export function headersFor(url) {
  return token !== null && url.startsWith(ROOT.href) ? { Authorization: `Bearer ${token}` } : {};
}

/** Gets a token. Raises `Refused` with the server's words. */
export async function signIn(id, secret) {
  const answer = await fetch(address("oauth/token"), {
    method: "POST",
    body: new URLSearchParams({ grant_type: "client_credentials", client_id: id, client_secret: secret }),
    credentials: "omit",
  }).catch(() => {
    throw new Refused(0, "The server does not answer.");
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok || !body.access_token) {
    throw new Refused(answer.status, body.error_description ?? body.error?.message ?? `Answered with ${answer.status}`);
  }
  [token, who] = [body.access_token, id];
  isAdmin = (body.scope ?? "").split(" ").includes("admin");
}

/** Has something called when the client signs out, so that the next one sees nothing of it. */
export function onSignOut(forget) {
  forgetting.push(forget);
}

/** Has the token refused from now on and forgets it. */
export async function signOut() {
  const old = token;
  [token, who] = [null, null];
  for (const forget of forgetting) forget();
  if (old === null) return;
  const headers = { Authorization: `Bearer ${old}` };
  await fetch(address("console/v1/sign-out"), { method: "POST", headers, credentials: "omit" }).catch(() => null);
}

/** Asks for a client, once however many need it. */
export function signInAgain(why) {
  asked ??= askForClient(why).finally(() => {
    asked = null;
  });
  return asked;
}

/** A request with the token; a token that ran out is asked for again and the request repeated. */
export async function send(path, { method = "GET", json, accept, signal } = {}) {
  for (;;) {
    if (token === null) await signInAgain();
    const used = token;
    const headers = { Authorization: `Bearer ${used}` };
    if (accept) headers.Accept = accept;
    if (json !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      const body = json === undefined ? undefined : JSON.stringify(json);
      answer = await fetch(address(path), { method, headers, body, signal, credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The server does not answer.");
    }
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await refusal(answer);
    if (token === used) {
      token = null;
      await signInAgain("Your session has ended. Sign in again to go on where you were.");
    }
  }
}

async function refusal(answer) {
  const text = await answer.text();
  try {
    const { error } = JSON.parse(text);
    const fields = error.errors ?? {};
    const others = Object.entries(fields).filter(([, told]) => !error.message.includes(told));
    const told = [error.message, ...others.map(([name, what]) => `${name}: ${what}`)].join("; ");
    return new Refused(answer.status, told, fields);
  } catch {
    return new Refused(answer.status, `The server answers with ${answer.status} ${answer.statusText}`.trim());
  }
}

export async function getJson(path, options) {
  return (await send(path, options)).json();
}

/** `path` with a query; values that are empty are left out. */
export function query(path, values) {
  const kept = Object.entries(values).filter(([, one]) => one !== undefined && one !== null && one !== "");
  const text = new URLSearchParams(kept).toString();
  return text ? `${path}?${text}` : path;
}

const V1 = "console/v1";

/** What is asked of one job; an operator may look at any. */
function ofJob(path, values) {
  return query(`${V1}/jobs/${path}`, { ...values, project: isAdmin ? "all" : null });
}

export const console1 = {
  jobs: (wanted, options) => getJson(query(`${V1}/jobs`, wanted), options),
  job: (id, options) => getJson(ofJob(id), options),
  errors: (id, options) => getJson(ofJob(`${id}/errors`), options),
  events: (id, after, options) => getJson(ofJob(`${id}/events`, { after }), options),
  act: (id, action) => send(ofJob(`${id}/${action}`), { method: "POST" }),
  range: (id, measure, options) => getJson(ofJob(`${id}/range`, measure), options),
  features: (id, q, count, options) => getJson(ofJob(`${id}/features`, { q, count }), options),
  feature: (id, feature, options) => getJson(ofJob(`${id}/features/${feature}`), options),
  document: async (id, feature) => (await send(ofJob(`${id}/features/${feature}/document`))).text(),
  tiles: (id, values) => address(ofJob(`${id}/tiles/{z}/{x}/{y}.mvt`, values)).replaceAll("%7B", "{").replaceAll("%7D", "}"),
  deployment: () => getJson(`${V1}/deployment`),
};
