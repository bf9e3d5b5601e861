// The status page: asks for status.json every two seconds and shows it.  Text is set as text, never as
// markup; what is not known is shown as unknown, and old figures are shown as old.
"use strict";

const ASK_MS = 2000, STALE_MS = 7000, LOST_MS = 30000, ASK_DEADLINE_MS = 5000;
const KEPT = 150;      // answers: five minutes
const WIDE = 30;       // answers that a chart has room for at first: it grows with them
const RATE_OVER = 5;   // answers back that a rate looks
const TIMES_OVER = 30; // answers back that a quantile looks
const UNKNOWN = "unknown";

const state = { answers: [], heard: 0, failed: "", token: sessionStorage.getItem("token") };
const at = (id) => document.getElementById(id);

// --- making elements ---------------------------------------------------------------------------------------

function make(name, className, ...inside) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...inside.map((part) => (part instanceof Node ? part : String(part))));
  return element;
}

function draw(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function table(id, heads, rows, none) {
  const cell = (value) => {
    const { text, kind = "" } = value !== null && typeof value === "object" ? value : { text: value };
    return make("td", kind, text ?? UNKNOWN);
  };
  const head = make("tr", "", ...heads.map((text) => make("th", text.startsWith("#") ? "number" : "", text.replace("#", ""))));
  const body = rows.length ? rows.map((row) => make("tr", "", ...row.map(cell))) : [make("tr", "", make("td", "none", none))];
  at(id).replaceChildren(make("thead", "", ...(rows.length ? [head] : [])), make("tbody", "", ...body));
}

// --- figures as people read them ---------------------------------------------------------------------------

const known = (value) => value !== null && value !== undefined;
const number = (text) => ({ text, kind: "number" });

function count(value) {
  if (!known(value)) return UNKNOWN;
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]])
    if (value >= size) return (value / (letter === "k" ? 1e3 : size)).toFixed(value >= 100 * size ? 0 : 1) + letter;
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}

function bytes(value) {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit++; }
  return (unit && value < 100 ? value.toFixed(1) : Math.round(value)) + " " + units[unit];
}

const several = (value, one, more) => `${count(value)} ${value === 1 ? one : more}`;

function span(ms) {
  if (!known(ms)) return UNKNOWN;
  if (ms === 0) return "0 s";
  if (ms < 1) return ms.toFixed(2) + " ms";
  if (ms < 1000) return (ms < 10 ? ms.toFixed(1) : Math.round(ms)) + " ms";
  const s = ms / 1000;
  if (s < 100) return (s < 10 ? s.toFixed(1) : Math.round(s)) + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  return s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " d";
}

// --- what follows from several answers ---------------------------------------------------------------------

// Per second, over the last few answers; null while there is only one.
function rateAt(index, name, over = RATE_OVER) {
  const last = state.answers[index], first = state.answers[Math.max(0, index - over)];
  const seconds = (last.at_ms - first.at_ms) / 1000;
  return seconds > 0 ? Math.max(0, last.counters[name] - first.counters[name]) / seconds : null;
}

const rate = (name) => rateAt(state.answers.length - 1, name);

// What was seen lately, by its bounds; while this page is young, since the start of spendd.
function lately(name) {
  const first = state.answers.at(-1 - TIMES_OVER)?.times[name];
  return state.answers.at(-1).times[name].cells.map((cell, i) => cell - (first ? first.cells[i] : 0));
}

const sum = (cells) => cells.reduce((all, cell) => all + cell, 0);

// The bound that this share of it did not pass, in ms; null: nothing was seen.
function quantile(name, share) {
  const cells = lately(name), last = state.answers.at(-1).times[name], all = sum(cells);
  let passed = 0;
  if (all <= 0) return null;
  for (let i = 0; i < cells.length; i++) {
    passed += cells[i];
    if (passed >= all * share) return i < last.bounds_us.length ? "≤ " + span(last.bounds_us[i] / 1000) : "> " + span(last.bounds_us.at(-1) / 1000);
  }
  return null;
}

// --- the parts of the page ---------------------------------------------------------------------------------

function tile(name, value, unit, more, kind = "") {
  return make("div", "tile " + kind, make("p", "name", name),
    make("p", "value", value, make("span", "unit", unit)), make("p", "more", more));
}

const grade = (value, warn, bad) => (value >= bad ? "bad" : value >= warn ? "warn" : "good");

function showTiles(now) {
  const lag = now.lag_ms, refused = rate("backpressure"), [figure, unit] = span(lag).split(" ");
  at("tiles").replaceChildren(
    tile("Ledger lag", figure, unit, lag ? "oldest event not in PostgreSQL" : "PostgreSQL has everything", grade(lag, 10000, 60000)),
    tile("Acknowledged", count(rate("accepted")), "/s", count(now.counters.accepted) + " since the start"),
    tile("In PostgreSQL", count(rate("counted")), "/s", count(now.counters.counted) + " by this instance"),
    tile("Spool", ...bytes(now.spool.unapplied_bytes).split(" "), `of ${bytes(now.spool.bytes)} wait for PostgreSQL`),
    tile("Told to wait", count(refused), "/s", now.counters.backpressure ? count(now.counters.backpressure) + " since the start" : "no message so far", refused > 0 ? "bad" : "good"),
    tile("Dead letters", count(now.counters.dead), "", now.counters.dead ? "see spendctl dead ls" : "none", now.counters.dead ? "warn" : "good"));
}

// A worker's row as one mark: all of its instances are ready (then `fine` is said), held behind a gate, or not.
function mark(now, name, fine) {
  const rows = now.workers.filter((worker) => worker.name === name);
  if (!now.supervisor) return { kind: "", text: "the supervisor does not answer" };
  if (!rows.length) return { kind: "", text: "not running here" };
  const off = rows.find((worker) => worker.state !== "READY");
  if (!off) return { kind: "good", text: fine ?? "ready" };
  return { kind: off.state === "HELD" ? "warn" : "bad", text: `${off.state.toLowerCase()}: ${off.why || off.status}` };
}

function showPipeline(now) {
  const stage = (name, { kind, text }, big) => make("li", kind, make("p", "name", name), make("p", "big", big), make("p", "more", text));
  const probe = (store) => now.health?.probes?.find((row) => row.store === store);
  const store = (name) => {
    const found = probe(name);
    if (!found) return { kind: "", text: "not probed yet" };
    return { kind: found.passed ? "good" : "bad", text: found.passed ? "answers" : found.detail };
  };
  const gate = now.gate.open === false ? { kind: "bad", text: now.gate.why } : store("database");
  const flusher = mark(now, "db_flusher", now.lock_held ? "brings batches to PostgreSQL" : "another instance holds the lock, or nothing is to be done");
  at("pipeline").replaceChildren(
    stage("aggregator", mark(now, "aggregator", several(now.lanes.length, "lane", "lanes") + " ready"), count(rate("accepted")) + " events/s"),
    stage("spool", { kind: "good", text: several(now.spool.unapplied_segments, "sealed segment waits", "sealed segments wait") }, bytes(now.spool.unapplied_bytes)),
    stage("redis_writer", mark(now, "redis_writer"), count(rate("pushed")) + " batches/s"),
    stage("Redis", store("redis"), several(now.queue.batches, "batch", "batches")),
    stage("db_flusher", flusher, now.lock_held ? "holds the lock" : flusher.kind === "good" ? "stands by" : "waits"),
    stage("PostgreSQL", gate, count(rate("rows")) + " rows/s"));
}

function showWorkers(now) {
  const kinds = { READY: "good", HELD: "warn", STARTING: "warn", DRAINING: "warn" };
  table("workers", ["worker", "state", "since", "#restarts", ""], now.workers.map((worker) => [
    `${worker.name}.${worker.index}`, { text: worker.state.toLowerCase(), kind: kinds[worker.state] ?? "bad" },
    span(Math.max(0, now.at_ms - worker.since_ms)), number(worker.restarts),
    { text: [worker.why, worker.status].filter(Boolean).join(" · "), kind: "wide" }]), "the supervisor has not told yet");
}

function showTimes(now) {
  const names = { spool_commit_seconds: "group commit (fdatasync)", redis_push_seconds: "push to Redis",
    flush_seconds: "flush to PostgreSQL", event_commit_seconds: "event: arrival to commit" };
  const over = state.answers.length > TIMES_OVER ? "the last minute" : "since the start";
  table("times", [over, "#half", "#99 of 100", "#times"], Object.keys(now.times).map((name) => [
    names[name] ?? name, number(quantile(name, .5) ?? "–"), number(quantile(name, .99) ?? "–"),
    number(count(sum(lately(name))))]), "");
}

function showLanes(now) {
  table("lanes", ["lane", "#waits", "#segments", "#on disk", "oldest"], now.lanes.map((lane) => [
    lane.lane, number(bytes(lane.unapplied_bytes)), number(count(lane.unapplied_segments)), number(bytes(lane.bytes)),
    lane.oldest_ms ? span(Math.max(0, now.at_ms - lane.oldest_ms)) : "–"]), "no aggregator");
}

function showStores(now) {
  const probes = now.health?.probes ?? [], kinds = { ok: "good", over: "bad" }, order = ["over", "unknown", "ok"];
  const watches = (now.health?.stores ?? []).filter((row) => order.includes(row.state))
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  const since = (row) => (row.since_ms ? span(Math.max(0, now.at_ms - row.since_ms)) : UNKNOWN);
  table("stores", ["store", "", "since", "#now", "#limit", ""], [
    ...probes.map((row) => [row.store, { text: row.passed ? "answers" : "fails", kind: row.passed ? "good" : "bad" },
      since(row), "", "", { text: row.detail, kind: "wide" }]),
    ...watches.map((row) => [row.store, { text: row.state, kind: kinds[row.state] ?? "none" }, since(row),
      number(known(row.value) ? count(row.value) : "–"), number(known(row.threshold) ? count(row.threshold) : "–"),
      { text: row.text || row.watch, kind: "wide" }])],
  "the health checker has not reported yet");
}

function showModels(now) {
  const verdict = (model) => (!known(model.healthy) ? [UNKNOWN, "none"] : model.healthy ? ["healthy", "good"] : ["unhealthy", "bad"]);
  table("models", ["model", "", "#latency", "checked", "#checks", "#cost", ""], (now.health?.models ?? []).map((model) => [
    model.name, { text: verdict(model)[0], kind: verdict(model)[1] },
    number(known(model.latency_ms) ? span(model.latency_ms) : "–"), known(model.age_s) ? span(model.age_s * 1000) + " ago" : "never",
    number(count(model.checks_total)), number(known(model.cost_usd_total) ? "$" + model.cost_usd_total : "–"),
    { text: [model.error, model.checked_by && "by " + model.checked_by].filter(Boolean).join(" · "), kind: "wide" }]),
  "no models are checked (health.models)");
}

// --- charts ------------------------------------------------------------------------------------------------

function nice(top) {
  const scale = 10 ** Math.floor(Math.log10(top || 1));
  return [1, 2, 5, 10].map((step) => step * scale).find((step) => step >= top) ?? 10 * scale;
}

function chart(id, lines, least, label) {
  const svg = at(id), width = svg.clientWidth || 600, height = svg.clientHeight || 140, left = 56, bottom = 20;
  const of = state.answers.length, room = Math.max(WIDE, of);
  const top = nice(Math.max(least, ...lines.flatMap((line) => line.values.filter(known))));
  const y = (value) => (height - bottom) - (value / top) * (height - bottom - 10);
  const x = (index) => left + (width - left) * (room - of + index) / (room - 1);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...[0, .5, 1].flatMap((share) => [
    draw("line", { class: "grid", x1: left, x2: width, y1: y(top * share), y2: y(top * share) }),
    draw("text", { x: left - 8, y: y(top * share) + 4, "text-anchor": "end" }, label(top * share))]),
  draw("text", { x: left, y: height - 4 }, span((room - 1) * ASK_MS) + " ago"), draw("text", { x: width, y: height - 4, "text-anchor": "end" }, "now"),
  ...lines.map((line) => draw("path", { class: line.kind, d: path(line.values, x, y) })));
}

// A line through what is known; a gap where it is not.
function path(values, x, y) {
  let drawn = false;
  return values.map((value, index) => {
    if (!known(value)) { drawn = false; return ""; }
    const step = `${drawn ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    drawn = true;
    return step;
  }).join("");
}

function showCharts() {
  const indexes = state.answers.map((_, index) => index);
  chart("rates", [{ kind: "in", values: indexes.map((index) => rateAt(index, "accepted", 3)) },
    { kind: "out", values: indexes.map((index) => rateAt(index, "counted", 3)) }], 10, count);
  chart("lags", [{ kind: "lag", values: state.answers.map((answer) => answer.lag_ms) }], 2000, span);
}

// --- all of it ---------------------------------------------------------------------------------------------

function show(now) {
  const verdict = !now.ready ? ["not ready", "bad"] : now.gate.open === false ? ["degraded", "warn"] : ["ready", "good"];
  const why = !now.ready ? now.why : now.gate.open === false ? "The database gate is closed; events wait in the spool. " + now.gate.why : "";
  at("instance").textContent = now.instance;
  at("verdict").textContent = now.draining ? "draining" : verdict[0];
  at("verdict").className = "pill " + verdict[1];
  at("why").textContent = why;
  at("why").hidden = !why;
  at("why").className = "note " + verdict[1];
  at("build").textContent = `spendd ${now.version} (${now.build})` +
    (now.started_ms ? `, up ${span(now.at_ms - now.started_ms)}` : "");
  document.title = `${verdict[0]} · ${span(now.lag_ms)} · ${now.instance}`;
  at("main").hidden = false; // before the charts, which look how wide they are
  for (const part of [showTiles, showPipeline, showWorkers, showTimes, showLanes, showStores, showModels, showCharts]) part(now);
}

function take(answer) {
  const before = state.answers.at(-1);
  // After a restart of spendd the counters begin anew, and so does the history.
  if (before && (answer.started_ms !== before.started_ms || answer.counters.accepted < before.counters.accepted)) state.answers = [];
  state.answers.push(answer);
  if (state.answers.length > KEPT) state.answers.shift();
  show(answer);
}

function showLink() {
  const age = Date.now() - state.heard;
  const link = !state.heard ? "connecting" : age < STALE_MS ? "live" : age < LOST_MS ? "stale" : "lost";
  const text = { connecting: state.failed ? "connecting: " + state.failed : "connecting", live: "live",
    stale: `stale: ${span(age)} old`, lost: `lost ${span(age)} ago: ${state.failed}` }[link];
  document.body.dataset.link = link;
  if (link === "lost") {
    at("verdict").textContent = UNKNOWN;
    document.title = "lost · " + at("instance").textContent;
  }
  if (at("link").textContent !== text) at("link").textContent = text;
}

async function ask() {
  try {
    const headers = state.token ? { Authorization: "Bearer " + state.token } : {};
    const response = await fetch("status.json", { headers, cache: "no-store", signal: AbortSignal.timeout(ASK_DEADLINE_MS) });
    at("ask").hidden = response.status !== 401;
    if (!response.ok) throw new Error(response.status === 401 ? "a token is needed" : "status " + response.status);
    take(await response.json());
    state.heard = Date.now();
    state.failed = "";
  } catch (error) {
    state.failed = error.name === "TimeoutError" ? "no answer in time" : error instanceof TypeError ? "cannot be reached" : error.message;
  }
  showLink();
}

async function run() {
  await ask();
  setTimeout(run, document.hidden ? 5 * ASK_MS : ASK_MS);
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = at("token").value;
  sessionStorage.setItem("token", state.token);
  at("token").value = "";
  ask();
});
addEventListener("resize", () => { if (state.answers.length) showCharts(); });
setInterval(showLink, 1000);
run();
