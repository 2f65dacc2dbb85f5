// How full the pools are, the fullest first, and when they will be full if that is in sight.

import { at, bar, make, span, whole } from "./dom.js";
import { every, get } from "./client.js";

const SHOWN = 8;

// Pages of subnets looked at.
const PAGES = 32;

/** The subnets, page by page. */
async function all() {
  const found = [];
  let path = "/api/v1/subnets";
  for (let page = 0; page < PAGES; page += 1) {
    const { subnets, next } = await get(path);
    found.push(...subnets);
    if (!next) break;
    path = `/api/v1/subnets?after=${next}`;
  }
  return found;
}

/** Shows them until the session ends. */
export function pools(signal) {
  const button = at("pools-all");
  let unfolded = false;
  let found = [];
  const show = () => {
    at("pools-list").replaceChildren(...found.slice(0, unfolded ? 500 : SHOWN).map(row));
    if (found.length === 0) at("pools-list").append(make("li", { className: "muted" }, "No pools that you may see."));
    button.hidden = found.length <= SHOWN;
    button.textContent = unfolded ? "Show the fullest only" : `Show all ${found.length}`;
    button.setAttribute("aria-expanded", String(unfolded));
  };
  button.addEventListener("click", () => { unfolded = !unfolded; show(); }, { signal });
  every(5000, async () => {
    const subnets = await all().catch(() => undefined);
    if (!subnets) return;
    found = subnets.flatMap((subnet) => subnet.pools.map((pool) => ({ ...pool, subnet: subnet.subnet })))
      .sort((a, b) => b.used_percent - a.used_percent);
    const size = found.reduce((sum, pool) => sum + pool.size, 0);
    const free = found.reduce((sum, pool) => sum + pool.free, 0);
    at("pools-sum").textContent = `${whole(free)} of ${whole(size)} addresses free`;
    show();
  }, signal);
}

function row(pool) {
  const kind = pool.used_percent >= 90 ? "danger" : pool.used_percent >= 75 ? "daemon" : "kernel";
  const name = `${pool.first} – ${pool.last}`;
  return make("li", {},
    make("div", { className: "bar-head" },
      make("span", { className: "name mono" }, name),
      make("span", { className: "figure" }, `${pool.used_percent.toFixed(1)} %`)),
    bar(pool.used_percent, `Pool ${name}: ${pool.used_percent.toFixed(1)} percent in use`, kind),
    make("p", { className: "hint" }, `${whole(pool.free)} of ${whole(pool.size)} free · ${pool.subnet}`, forecast(pool)));
}

function forecast(pool) {
  const seen = pool.forecast;
  if (pool.free === 0) return make("strong", { className: "warn" }, " · full");
  if (!seen || seen.full_in_secs === null) return null;
  const text = ` · full in ${span(seen.full_in_secs)} at the rate of the last ${span(seen.seen_secs)}`;
  return seen.full_in_secs < 86_400 ? make("strong", { className: "warn" }, text) : make("span", {}, text);
}
