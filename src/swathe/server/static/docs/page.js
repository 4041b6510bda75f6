// Shows the description of this server. Operations that are served on several paths are shown on the first of them.
"use strict";

const place = document.getElementById("api");
const base = place.dataset.base;
const METHODS = ["get", "head", "post", "put", "patch", "delete"];

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

function withoutTwins(description) {
  const paths = {};
  const twins = new Map();
  for (const [path, ways] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((name) => name in ways)) {
      const first = ways[method]["x-same-as"];
      if (first === undefined) {
        (paths[path] ??= {})[method] = ways[method];
      } else {
        const key = `${method} ${first}`;
        twins.set(key, [...(twins.get(key) ?? []), path]);
      }
    }
  }
  for (const [key, others] of twins) {
    const [method, path] = key.split(" ");
    const operation = paths[path][method];
    const note = `Also at ${others.map((other) => `\`${other}\``).join(", ")}.`;
    operation.description = operation.description ? `${operation.description}\n\n${note}` : note;
  }
  return { ...description, paths };
}

async function show() {
  const answer = await fetch(`${base}/openapi.json`);
  if (!answer.ok) throw new Error(`openapi.json is answered with ${answer.status}`);
  const description = withoutTwins(await answer.json());
  description.servers = [{ url: `${location.origin}${base}` }];
  for (const scheme of Object.values(description.components.securitySchemes ?? {})) {
    for (const flow of Object.values(scheme.flows ?? {})) {
      flow.tokenUrl = `${location.origin}${base}${flow.tokenUrl}`;
    }
  }
  SwaggerUIBundle({
    spec: description,
    dom_id: "#api",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    filter: true,
    persistAuthorization: false,
    validatorUrl: null,
  });
}

show().catch((error) => {
  const told = document.createElement("p");
  told.setAttribute("role", "alert");
  told.textContent = `The description cannot be shown: ${error.message}`;
  place.replaceChildren(told);
});
