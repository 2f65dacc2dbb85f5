// The sites, a box each, where there are any.

import { ago, at, make, span, whole } from "./dom.js";
import { every, get } from "./client.js";

/** Shows them until the session ends; a node that knows of no sites shows nothing. What is given back is to be called when
 * something happens to sites. */
export function sites(signal) {
  const single = new AbortController();
  at("sites").hidden = true;
  let looking = false;
  const look = async () => {
    const status = await get("/api/v1/sites/status").catch((error) => {
      // A single node stays one until it is started anew.
      if (error.status === 404 || error.status === 403) single.abort();
    });
    const found = status?.sites ?? [];
    at("sites").hidden = found.length === 0;
    const details = await Promise.all(found.map((site) =>
      get(`/api/v1/sites/${encodeURIComponent(site.name)}`).catch(() => undefined)));
    at("sites-list").replaceChildren(...found.map((site, n) => box(site, details[n])));
  };
  every(5000, look, AbortSignal.any([signal, single.signal]));
  return async () => {
    if (looking || signal.aborted) return;
    looking = true;
    // Of all that happens at once, one look sees the end.
    await new Promise((done) => { setTimeout(done, 300); });
    looking = false;
    if (!signal.aborted) await look();
  };
}

/** How far the worst of a site's nodes is behind this one; undefined where that is not known. */
function behind(detail) {
  const known = (detail?.members ?? []).filter((node) => node.lag_updates !== null && node.lag_updates !== undefined);
  if (known.length === 0) return undefined;
  const updates = Math.max(...known.map((node) => node.lag_updates));
  if (updates === 0) return "nothing";
  const secs = Math.max(...known.map((node) => node.lag_secs ?? 0));
  return `${whole(updates)} ${updates === 1 ? "update" : "updates"}, ${span(secs)}`;
}

function box(site, detail) {
  const good = ["active", "healthy", "local"].includes(site.status);
  const facts = [
    ["Nodes", site.nodes],
    ["Latency", typeof site.latency === "number" ? `${site.latency} ms` : "not known"],
    ["Behind by", behind(detail)],
    ["Last sync", site.last_sync ? ago(site.last_sync) : site.last_sync === null ? "never" : undefined],
  ].filter(([, value]) => value !== undefined);
  return make("li", { className: `site ${good ? "good" : "bad"}` },
    make("h3", {}, site.name),
    make("p", { className: "state", title: detail?.reason }, site.status),
    make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))])));
}
