// What the node does: tiles, renewals per second split by who answered, and why the kernel did not.

import { at, bar, make, micros, rate, whole } from "./dom.js";
import { every, get } from "./client.js";

const KEPT = 600;
const TILES = [
  ["share", "Renewals in the kernel", "of the last minute's"],
  ["renewals", "Renewals", "per second"],
  ["grants", "New leases", "per second"],
  ["bound", "Leases bound", ""],
  ["daemon", "Daemon answers", "99 of 100 within"],
  ["flush", "Durable", "99 of 100 flushes within"],
];

/** Shows it until the session ends. */
export function rates(me, signal) {
  const wholeNode = me.subnets.length === 0;
  for (const id of ["tiles", "rates", "reasons"]) at(id).hidden = !wholeNode;
  if (!wholeNode) return;
  const tiles = makeTiles();
  const samples = [];
  const chart = new Chart(at("chart"), samples, signal);
  let after = 0;
  every(1000, async () => {
    const view = await get(`/api/v1/stats/rates?after=${after}`).catch(() => undefined);
    if (!view) return;
    const last = view.samples.at(-1);
    if (last) {
      after = last.number;
    } else if (after > 0 && view.samples.length === 0 && view.window_secs < 2) {
      // Another daemon, which counts from the beginning.
      after = 0;
      samples.length = 0;
    }
    samples.push(...view.samples);
    samples.splice(0, Math.max(0, samples.length - KEPT));
    const { kernel_renewals: kernel, daemon_renewals: daemon } = view.average;
    const all = kernel + daemon;
    tiles.set("share", all > 0 ? `${(kernel / all * 100).toFixed(kernel === all ? 0 : 1)} %` : "–");
    const now = last ?? view.average;
    tiles.set("renewals", rate(now.kernel_renewals + now.daemon_renewals));
    tiles.set("grants", rate(now.grants));
    showReasons(view);
    chart.draw();
  }, signal);
  const window = [];
  every(5000, async () => {
    const [stats, latency] = await Promise.all([
      get("/api/v1/stats").catch(() => undefined),
      get("/api/v1/stats/latency").catch(() => undefined),
    ]);
    if (stats) {
      tiles.set("bound", whole(stats.leases.bound ?? 0));
      const other = [["free", "free"], ["quarantined", "quarantined"]]
        .filter(([name]) => stats.leases[name]).map(([name, word]) => `${whole(stats.leases[name])} ${word}`);
      tiles.note("bound", other.join(" · ") || "none free or quarantined");
    }
    if (latency) {
      window.push(latency);
      if (window.length > 13) window.shift();
      tiles.set("daemon", within(window[0].daemon, latency.daemon));
      tiles.set("flush", within(window[0].store_flush, latency.store_flush));
    }
  }, signal);
}

function makeTiles() {
  const values = {};
  at("tiles").replaceChildren(...TILES.map(([id, title, note]) => {
    const value = make("dd", { className: "value" }, "–");
    const about = make("dd", { className: "about" }, note);
    values[id] = { value, about };
    return make("dl", { className: "tile", data: { tile: id } }, make("dt", {}, title), value, about);
  }));
  const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  return {
    set: (id, text) => put(values[id].value, text),
    note: (id, text) => put(values[id].about, text),
  };
}

/** The bound that 99 of 100 stayed within between two looks; since the start if nothing happened in between. */
function within(then, now) {
  const since = now.buckets.map((bucket, n) => bucket.count - (then.buckets[n]?.count ?? 0));
  const counts = since.some((count) => count > 0) ? since : now.buckets.map((bucket) => bucket.count);
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return "–";
  let seen = 0;
  for (const [n, count] of counts.entries()) {
    seen += count;
    if (seen >= total * 0.99) {
      const bound = now.buckets[n].up_to_us;
      return bound === null ? `over ${micros(now.buckets[n - 1].up_to_us)}` : micros(bound);
    }
  }
  return "–";
}

function showReasons(view) {
  const shown = view.passed.filter((passed) => !["not_ipv4", "not_dhcp"].includes(passed.reason))
    .sort((a, b) => b.per_sec - a.per_sec || b.total - a.total).slice(0, 8);
  const most = Math.max(...shown.map((passed) => passed.per_sec), Number.MIN_VALUE);
  at("reasons-window").textContent = `last ${Math.round(view.window_secs)} s`;
  at("reasons-list").replaceChildren(...shown.map((passed) => make("li", {},
    make("div", { className: "bar-head" },
      make("span", { className: "name", title: passed.meaning }, passed.reason.replaceAll("_", " ")),
      make("span", { className: "figure" }, `${rate(passed.per_sec)}/s`,
        make("span", { className: "muted" }, ` · ${whole(passed.total)}`))),
    bar(passed.per_sec / most * 100, `${passed.reason}: ${rate(passed.per_sec)} per second`,
      passed.reason.startsWith("limited") ? "danger" : "daemon"),
    make("p", { className: "hint" }, passed.meaning))));
  if (shown.length === 0) {
    at("reasons-list").append(make("li", { className: "muted" }, "Nothing has been passed up yet."));
  }
}

const hour = (secs, exact) => new Date(secs * 1000).toLocaleTimeString("en-GB").slice(0, exact ? 8 : 5);

/** Two areas, one on the other: daemon below, kernel above. */
class Chart {
  constructor(home, samples, signal) {
    this.home = home;
    this.samples = samples;
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    const rebuild = () => this.build();
    this.dark.addEventListener("change", rebuild, { signal });
    const resize = new ResizeObserver(() => this.resize());
    resize.observe(home);
    signal.addEventListener("abort", () => { resize.disconnect(); this.plot?.destroy(); });
    this.build();
  }

  build() {
    this.plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = {
      stroke: colour("muted"), font: "12px system-ui, sans-serif",
      grid: { stroke: colour("line"), width: 1 }, space: 70, ticks: { show: false },
    };
    const series = (label, name) => ({
      label, stroke: colour(name), width: 1.5, fill: colour(`${name}-soft`), points: { show: false },
    });
    this.plot = new window.uPlot({
      ...this.size(), padding: [12, 8, 0, 0],
      cursor: { y: false, points: { show: false } }, legend: { show: false },
      scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 5)] } },
      axes: [
        { ...axis, size: 28, values: (_, ticks, __, ___, step) => ticks.map((tick) => hour(tick, step < 60)) },
        { ...axis, size: 56, space: 40, values: (_, ticks) => ticks.map(rate) },
      ],
      series: [{}, series("in the kernel", "kernel"), series("by the daemon", "daemon")],
    }, this.data(), this.home);
  }

  data() {
    const times = this.samples.map((sample) => Date.parse(sample.at) / 1000);
    const daemon = this.samples.map((sample) => sample.daemon_renewals);
    return [times, this.samples.map((sample) => sample.kernel_renewals + sample.daemon_renewals), daemon];
  }

  size() {
    return { width: Math.max(this.home.clientWidth, 120), height: Math.max(this.home.clientHeight, 120) };
  }

  resize() {
    this.plot.setSize(this.size());
  }

  draw() {
    this.plot.setData(this.data());
    const last = this.samples.at(-1);
    if (last) {
      this.home.setAttribute("aria-label", `Renewals in the last second: ${rate(last.kernel_renewals)} in the kernel, `
        + `${rate(last.daemon_renewals)} by the daemon; ${this.samples.length} seconds are shown`);
    }
  }
}
