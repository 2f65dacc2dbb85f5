// The sites, a box each, where there are any.

import { ago, at, make } from "./dom.js";
import { every, get } from "./client.js";

/** Shows them until the session ends; a node that knows of no sites shows nothing. */
export function sites(signal) {
  const single = new AbortController();
  at("sites").hidden = true;
  every(5000, async () => {
    const status = await get("/api/v1/sites/status").catch((error) => {
      // A single node stays one until it is started anew.
      if (error.status === 404 || error.status === 403) single.abort();
    });
    const found = status?.sites ?? [];
    at("sites").hidden = found.length === 0;
    at("sites-list").replaceChildren(...found.map(box));
  }, AbortSignal.any([signal, single.signal]));
}

function box(site) {
  const good = ["active", "healthy", "local"].includes(site.status);
  const facts = [
    ["Nodes", site.nodes],
    ["Latency", site.latency === undefined ? undefined : `${site.latency} ms`],
    ["Last sync", site.last_sync ? ago(site.last_sync) : site.last_sync === null ? "never" : undefined],
  ].filter(([, value]) => value !== undefined);
  return make("li", { className: `site ${good ? "good" : "bad"}` },
    make("h3", {}, site.name),
    make("p", { className: "state" }, site.status),
    make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))])));
}
