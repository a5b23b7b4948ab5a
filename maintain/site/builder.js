// The command builder: every command that the recipes render stands in builder-data.js; this page only looks one up.
"use strict";
const FIELDS = ["target", "model", "tensor-parallel size", "profile", "activations", "replicas"];
const FORMS = { shell: "shell", docker: "docker", compose: "compose", k8s: "Kubernetes" };
const keys = Object.keys(BUILDER.commands).map((key) => key.split("/"));
let form = "shell";

function chosen() {
  return FIELDS.map((_, place) => document.getElementById(`builder-${place}`).value);
}

// What each field offers beside what the fields before it say; the rest of the target's values are shown, but disabled.
function offer(wanted) {
  const before = [];
  FIELDS.forEach((name, place) => {
    const select = document.getElementById(`builder-${place}`);
    const open = keys.filter((key) => before.every((value, at) => key[at] === value));
    const known = place === 0 ? keys : keys.filter((key) => key[0] === before[0]);
    const possible = new Set(open.map((key) => key[place]));
    const words = (value) => (place === 0 ? BUILDER.titles[value] : value.replace(/^(tp|x)(?=\d)/, ""));
    select.replaceChildren(...[...new Set(known.map((key) => key[place]))].map((value) => {
      const option = new Option(words(value) + (possible.has(value) ? "" : " (not offered here)"), value);
      option.disabled = !possible.has(value);
      return option;
    }));
    const preferred = [wanted[place], place > 0 && (BUILDER.defaults[before[0]][before[1] ?? ""] ?? [])[place], [...possible][0]];
    select.value = preferred.find((value) => possible.has(value));
    before.push(select.value);
  });
  show();
}

function show() {
  const command = BUILDER.commands[chosen().join("/")];
  document.getElementById("builder-command").textContent = command[form].map((line) => BUILDER.lines[line]).join("\n");
  document.querySelectorAll("#builder-forms button").forEach((button) => {
    button.setAttribute("aria-pressed", String(button.dataset.form === form));
  });
  document.getElementById("builder-said").textContent = "";
}

async function copy() {
  const text = document.getElementById("builder-command").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a page from a file, or a browser that asks first
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  document.getElementById("builder-said").textContent = "copied";
}

document.addEventListener("DOMContentLoaded", () => {
  const fields = document.getElementById("builder");
  FIELDS.forEach((name, place) => {
    const label = Object.assign(document.createElement("label"), { htmlFor: `builder-${place}`, textContent: name });
    const select = Object.assign(document.createElement("select"), { id: `builder-${place}` });
    select.addEventListener("change", () => offer(chosen()));
    fields.append(label, select);
  });
  Object.entries(FORMS).forEach(([name, title]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: title });
    button.dataset.form = name;
    button.addEventListener("click", () => { form = name; show(); });
    document.getElementById("builder-forms").append(button);
  });
  document.getElementById("builder-copy").addEventListener("click", copy);
  offer([new URLSearchParams(location.search).get("target") ?? "h200"]);
});
