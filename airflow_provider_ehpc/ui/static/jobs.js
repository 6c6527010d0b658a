// SPDX-License-Identifier: Apache-2.0
// The page "HPC jobs". It inserts data from clouds only as text.
import { bytes, causeName, duration, language, outcomeName, stateName, t, when } from "./messages.js";

const REFRESH = 10_000;
const STATES = ["", "ACTIVE", "PENDING", "QUEUED", "RUNNING", "SUSPENDED", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "UNKNOWN"];
const ENDED = new Set(["SUCCEEDED", "FAILED", "CANCELLED"]);
const COLUMNS = ["state", "job", "task", "place", "since", "queued", "ran", "resources", "log", "diagnosis", "links"];
const SVG = "http://www.w3.org/2000/svg";
const find = (id) => document.getElementById(id);
const params = new URLSearchParams(location.search);
// If a task is not mapped, Airflow does not replace the placeholder.
if (!/^-?\d+$/.test(params.get("map_index") ?? "")) params.delete("map_index");

const positions = [];
let page = null;
let failure = null;
let loading = 0;
let timer = 0;
const opened = new Set();

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

// Isolates text from a cloud, so that it cannot change the direction of the surrounding text.
const foreign = (text, attributes) => element("bdi", attributes, text);

// ------------------------------------------------------------------ theme, language

function applyTheme() {
  let wanted = null;
  try {
    wanted = localStorage.getItem("theme"); // Airflow's
  } catch {
    // Without storage, the browser's theme is used.
  }
  const dark = wanted === "dark" || (wanted !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

function applyLanguage() {
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  document.title = t("title");
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = t(each.dataset.text);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", t(each.dataset.label));
  find("language").value = language();
  const { state, text } = find("filters").elements;
  text.placeholder = t("searchHint");
  state.replaceChildren(
    ...STATES.map((name) => {
      const shown = name === "" ? t("all") : name === "ACTIVE" ? t("ACTIVE") : stateName(name);
      return element("option", { value: name, selected: name === (params.get("state") ?? "") }, shown);
    }),
  );
  find("heads").replaceChildren(...COLUMNS.map((name) => element("th", { scope: "col", class: name === "task" && name }, t(name))));
  show();
}

// ------------------------------------------------------------------ links

// Airflow's frame does not let a page open a window or leave the frame, so the parent window follows a link.
function follow(event) {
  const link = event.target.closest("a[href]");
  if (!link || window.parent === window) return;
  event.preventDefault();
  const around = window.parent.document.createElement("a");
  around.href = link.href;
  const aside = link.target === "_blank" || event.ctrlKey || event.metaKey || event.button === 1;
  if (aside) around.target = "_blank";
  around.rel = "noopener noreferrer";
  around.click();
}

const base = new URL("..", location.href);

function taskAddress(task) {
  const parts = ["dags", task.dag_id, "runs", task.run_id, "tasks", task.task_id];
  if (task.map_index >= 0) parts.push("mapped", String(task.map_index));
  return new URL(parts.map(encodeURIComponent).join("/"), base).href;
}

function webAddress(text) {
  try {
    const address = new URL(text);
    return ["http:", "https:"].includes(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

// ------------------------------------------------------------------ cells

function badge(state, number) {
  const known = STATES.includes(state) ? state : "UNKNOWN";
  const text = number === undefined ? stateName(state) : `${number} ${stateName(state)}`;
  return element("span", { class: "badge", "data-state": state ? known : "" }, text);
}

const seconds = (from, to) => (new Date(to) - new Date(from)) / 1000;
const span = (from, to, job) => (from && !job.zones_mixed && seconds(from, to) >= 0 ? duration(seconds(from, to)) : "");

function sinceCell(job) {
  if (!job.state || !job.since) return element("td", {}, "");
  const time = span(job.since, Date.now(), {});
  return element("td", { title: when(job.since) }, ENDED.has(job.state) ? t("ago", time) : time);
}

function queueCell(job) {
  const waiting = ["PENDING", "QUEUED"].includes(job.state);
  const until = job.started_at ?? (waiting ? Date.now() : null);
  return element("td", {}, until && !job.restarts ? span(job.submitted_at, until, job) : "");
}

function ranCell(job) {
  const until = job.ended_at ?? (ENDED.has(job.state) ? null : Date.now());
  return element("td", {}, until ? span(job.started_at, until, job) : "");
}

function resourcesCell(job) {
  const { nodes, ...each } = job.resources ?? {};
  const count = job.nodes ? String(job.nodes) : nodes;
  const parts = ["cores", "gpus", "memory"].filter((name) => each[name] && each[name] !== "0").map((name) => t(name, each[name]));
  const many = count && count !== "1" && parts.length ? element("span", { class: "faint" }, ` ${t("perNode")}`) : "";
  return element("td", {}, [count ? t("nodes", count) : "", ...parts].filter(Boolean).join(" · "), many);
}

function sparkline(points) {
  const [width, height] = [96, 22];
  const [first, last] = [points[0], points.at(-1)];
  const x = (at) => (1 + ((width - 2) * (at - first[0])) / Math.max(1, last[0] - first[0])).toFixed(1);
  const top = Math.max(1, ...points.map(([, size]) => size));
  const y = (size) => (height - 2 - ((height - 4) * size) / top).toFixed(1);
  const line = points.map(([at, size]) => `${x(at)},${y(size)}`).join(" ");
  const drawing = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, height, class: "sparkline", "aria-hidden": "true" })) {
    drawing.setAttribute(name, value);
  }
  const area = document.createElementNS(SVG, "polygon");
  area.setAttribute("points", `${x(first[0])},${height - 1} ${line} ${x(last[0])},${height - 1}`);
  const curve = document.createElementNS(SVG, "polyline");
  curve.setAttribute("points", line);
  drawing.append(area, curve);
  return drawing;
}

function logCell(task) {
  const { points, bytes: size } = task.log;
  if (size === undefined) return element("td", {}, "");
  const shape = points.length > 1 ? sparkline(points) : "";
  return element("td", { class: "log" }, shape, element("span", {}, bytes(size)));
}

function linksCell(task) {
  const console = webAddress(task.console);
  return element(
    "td",
    { class: "links" },
    element("a", { href: taskAddress(task) }, t("taskLink")),
    console ? element("a", { href: console, target: "_blank", rel: "noopener noreferrer" }, t("console")) : "",
  );
}

const diagnosisCell = (job) =>
  element("td", {}, job.cause ? causeName(job.cause) : job.exit_code ? `${t("exitCode")} ${job.exit_code}` : "");

const placeCell = (job, task) =>
  element("td", {}, foreign(job.cluster_id ?? task.conn_id ?? ""), job.cluster_id ? foreign(task.conn_id ?? "", { class: "second" }) : "");

function jobCell(job, version = job.version_id) {
  const id = version ? `${job.job_id} ${version}` : job.job_id;
  return element("td", { class: "job" }, foreign(job.name ?? id), job.name ? foreign(id, { class: "second" }) : "");
}

function taskCell(task) {
  const index = task.map_index >= 0 ? ` [${task.map_index}]` : "";
  return element(
    "td",
    { class: "task" },
    foreign(`${task.dag_id} · ${task.task_id}${index}`),
    foreign(task.run_id, { class: "second" }),
  );
}

function stateCell(task, key, content) {
  const open = opened.has(key);
  const button = element("button", { type: "button", class: "expand", "aria-expanded": String(open), "aria-label": t("details") }, open ? "▾" : "▸");
  button.addEventListener("click", () => {
    if (!opened.delete(key)) opened.add(key);
    show();
  });
  return element("td", { class: "state" }, button, ...content);
}

// ------------------------------------------------------------------ rows

function jobCells(job, task) {
  return [sinceCell(job), queueCell(job), ranCell(job), resourcesCell(job)];
}

function details(task) {
  const single = task.total === 1 ? task.jobs[0] : null;
  const facts = [];
  const fact = (name, ...value) => facts.push(element("dt", {}, t(name)), element("dd", {}, ...value));
  if (single && task.changes.length) {
    const steps = task.changes.flatMap(([state, since]) => [badge(state), element("span", { class: "faint" }, ` ${when(since)}  `)]);
    fact("changes", ...steps);
  }
  if (single?.reason) fact("reason", foreign(single.reason));
  if (single?.exit_code !== undefined) fact("exitCode", String(single.exit_code));
  if (single?.raw_state) fact("rawState", foreign(single.raw_state));
  if (single?.queue) fact("queue", foreign(single.queue));
  if (single?.restarts) fact("restarts", String(single.restarts));
  if (single?.array) fact("array", ...Object.entries(single.array).map(([state, number]) => badge(state, number)));
  if (single?.outcome_assumed) fact("state", t("assumed"));
  if (task.log.lines !== undefined) fact("lines", task.log.lines.toLocaleString());
  if (task.outcome) fact("outcome", outcomeName(task.outcome));
  fact("taskState", task.task_state ?? "");
  fact("connection", foreign(`${task.conn_id ?? ""} (${task.api ?? ""})`));
  fact("updated", task.updated ? when(task.updated * 1000) : "");
  return element("tr", { class: "details" }, element("td", { colspan: COLUMNS.length }, element("dl", {}, ...facts)));
}

function rowsOf(task) {
  const key = JSON.stringify([task.dag_id, task.run_id, task.task_id, task.map_index]);
  const open = opened.has(key);
  if (task.total <= 1) {
    const job = task.jobs[0] ?? { job_id: "" };
    const state = !job.state && task.outcome === "submitted" ? element("span", { class: "badge", "data-state": "" }, t("submitted")) : badge(job.state);
    const row = element(
      "tr",
      { class: "task" },
      stateCell(task, key, [state]),
      jobCell(job),
      taskCell(task),
      placeCell(job, task),
      ...jobCells(job, task),
      logCell(task),
      diagnosisCell(job),
      linksCell(task),
    );
    return open ? [row, details(task)] : [row];
  }
  const numbers = Object.entries(task.counts).map(([state, number]) => badge(state, number));
  const row = element(
    "tr",
    { class: "task" },
    stateCell(task, key, [element("span", { class: "badges" }, ...numbers)]),
    element("td", { class: "job" }, t("jobs", task.total.toLocaleString())),
    taskCell(task),
    placeCell(task.jobs[0] ?? {}, task),
    ...Array.from({ length: 4 }, () => element("td")),
    logCell(task),
    element("td"),
    linksCell(task),
  );
  if (!open) return [row];
  const members = task.jobs.map((job) =>
    element(
      "tr",
      { class: "member" },
      element("td", { class: "state" }, badge(job.state)),
      jobCell(job),
      element("td", { class: "task" }),
      placeCell(job, task),
      ...jobCells(job, task),
      element("td"),
      diagnosisCell(job),
      element("td"),
    ),
  );
  const rest = task.total > task.jobs.length ? t("shown", task.jobs.length, task.total.toLocaleString()) : null;
  const note = rest ? [element("tr", { class: "member" }, element("td", { colspan: COLUMNS.length, class: "faint" }, rest))] : [];
  return [row, ...members, ...note, details(task)];
}

function show() {
  const tasks = page?.tasks ?? [];
  find("rows").replaceChildren(...tasks.flatMap(rowsOf));
  // In the tab of a task, only the map indexes of its instances are new to the reader.
  document.documentElement.classList.toggle("one-task", params.has("tab") && tasks.length < 2);
  const number = positions.reduce((sum, each) => sum + each.shown, 0);
  find("range").textContent = tasks.length ? t("range", number + 1, number + tasks.length) : "";
  find("previous").disabled = !positions.length;
  find("next").disabled = !page?.next;
  let message = failure;
  if (!message && page) {
    const filtered = ["state", "dag", "text"].some((name) => params.get(name));
    if (!tasks.length) message = scoped() ? t("noneHere") : t(filtered ? "noneFit" : "none");
    if (page.next && tasks.length < 50) message = t("continued");
  }
  find("message").textContent = message ?? "";
  find("message").hidden = !message;
  find("message").classList.toggle("error", Boolean(failure));
  const known = new Set(tasks.map((task) => task.dag_id));
  find("dags").replaceChildren(...[...known].map((dag) => element("option", { value: dag })));
  showScope();
}

// ------------------------------------------------------------------ one task only

const scoped = () => Boolean(params.get("task"));

function showScope() {
  find("scope").hidden = !scoped();
  if (!scoped()) return;
  find("filters").hidden = true;
  const index = params.has("map_index") && Number(params.get("map_index")) >= 0 ? ` [${params.get("map_index")}]` : "";
  const where = `${params.get("dag")} · ${params.get("task")}${index}`;
  const all = element("a", { href: new URL("plugin/hpc-jobs", base).href }, t("showAll"));
  find("scope").replaceChildren(foreign(t("scope", where)), " ", params.has("tab") ? "" : all);
}

// ------------------------------------------------------------------ loading

async function load() {
  clearTimeout(timer);
  const mine = ++loading;
  const wanted = new URLSearchParams([...params].filter(([name, value]) => value && name !== "tab"));
  if (positions.length) wanted.set("after", positions.at(-1).next);
  try {
    const response = await fetch(`jobs?${wanted}`, { credentials: "same-origin", headers: { Accept: "application/json" } });
    const result = response.ok ? await response.json() : null;
    if (mine !== loading) return;
    if (result) page = result;
    const known = { 401: t("loginAgain"), 403: t("forbidden") };
    failure = response.ok ? null : known[response.status] ?? t("failed", `HTTP ${response.status}`);
    if (!response.ok) page = response.status in known ? null : page;
  } catch (error) {
    if (mine !== loading) return;
    failure = t("failed", error.message);
  }
  show();
  timer = setTimeout(tick, REFRESH);
}

function tick() {
  if (find("refresh").checked && !document.hidden) load();
  else timer = setTimeout(tick, 1000);
}

function filter() {
  for (const field of find("filters").elements) {
    if (field.value.trim()) params.set(field.name, field.value.trim());
    else params.delete(field.name);
  }
  positions.length = 0;
  history.replaceState(null, "", `?${params}`);
  load();
}

// ------------------------------------------------------------------ start

for (const name of ["dag", "text"]) find("filters").elements[name].value = params.get(name) ?? "";
let typing = 0;
find("filters").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(filter, event.target.name === "state" ? 0 : 300);
});
find("filters").addEventListener("submit", (event) => event.preventDefault());
find("next").addEventListener("click", () => {
  positions.push({ next: page.next, shown: page.tasks.length });
  load();
});
find("previous").addEventListener("click", () => {
  positions.pop();
  load();
});
find("language").addEventListener("change", (event) => {
  localStorage.setItem("ehpc.language", event.target.value);
  applyLanguage();
});
document.addEventListener("click", follow);
document.addEventListener("auxclick", follow);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
// Follow changes of the theme or the language in Airflow's page around this one.
addEventListener("storage", () => {
  applyTheme();
  applyLanguage();
});
document.documentElement.classList.toggle("framed", window.parent !== window);
applyTheme();
applyLanguage();
load();
