// Puts the page together: a session, and in it a panel each.

import { at } from "./dom.js";
import { every, follow, get } from "./client.js";
import { events } from "./events.js";
import { leases } from "./leases.js";
import { pools } from "./pools.js";
import { rates } from "./rates.js";
import { session } from "./session.js";
import { sites } from "./sites.js";

async function ready() {
  const pill = at("ready");
  let state = { ready: false, problems: ["the server does not answer"] };
  try {
    state = await get("/readyz");
  } catch {
    // What is said above is all there is to say.
  }
  const text = state.ready ? "Serving" : state.problems.join("; ");
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${state.ready ? "good" : "bad"}`;
}

session((me, signal) => {
  const notice = at("notice");
  notice.hidden = me.subnets.length === 0;
  notice.textContent = me.subnets.length === 0 ? ""
    : `Your token is for ${me.subnets.join(", ")}: figures of the whole node are not shown.`;
  const found = leases(me, signal);
  const list = events(found.open, signal);
  rates(me, signal);
  pools(signal);
  const sitesHappened = sites(signal);
  const live = (on) => {
    at("live").textContent = on ? "Live" : "Reconnecting";
    at("live").classList.toggle("off", !on);
  };
  follow((kind, data) => {
    list.add(kind, data);
    if (kind === "lease") found.happened(JSON.parse(data));
    if (kind === "site") sitesHappened();
  }, live, signal);
});
every(5000, ready, new AbortController().signal);
