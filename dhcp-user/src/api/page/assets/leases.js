// Leases: found by what people know of a client, looked at with their story, and released by whoever may.

import { at, make, span, timeOf, toast } from "./dom.js";
import { change, every, get } from "./client.js";

const PAGE = 25;
const TRIES = 8;

/** What a query asks for, as parameters of the listing. */
export function asked(text) {
  const query = text.trim();
  if (query === "") return { state: "bound" };
  if (/^\d+\.\d+\.\d+\.\d+$/.test(query)) return { address: query };
  if (/^[\d.]+\/\d+$/.test(query)) return { subnet: query };
  const octets = query.replace(/\.$/, "").split(".");
  if (/^\d+\.[\d.]*$/.test(query) && octets.length < 4) {
    return { subnet: `${[...octets, 0, 0, 0].slice(0, 4).join(".")}/${octets.length * 8}` };
  }
  const digits = query.toLowerCase().replace(/[:.-]/g, "");
  if (/^[0-9a-f]{12}$/.test(digits)) return { hw_address: digits.match(/../g).join(":") };
  return { hostname: query };
}

/** The panel until the session ends: `open(address)` shows a lease, `happened(event)` brings an open one up to date. */
export function leases(me, signal) {
  const [table, story, body] = [at("results"), at("story"), at("results").tBodies[0]];
  let wanted = {};
  let next = null;
  let shown = null;
  let history;
  let turn = 0;
  story.hidden = true;
  table.hidden = true;
  at("found").textContent = "";

  const search = async (more) => {
    const mine = ++turn;
    if (!more) {
      wanted = asked(at("query").value);
      next = null;
      body.replaceChildren();
    }
    const found = [];
    try {
      // Where few leases fit, a page may be empty and have a next one all the same.
      for (let n = 0; n < TRIES && found.length < PAGE; n += 1) {
        const query = new URLSearchParams({ ...wanted, limit: PAGE - found.length });
        if (next) query.set("after", next);
        const page = await get(`/api/v1/leases?${query}`);
        if (mine !== turn || signal.aborted) return;
        found.push(...page.leases);
        next = page.next;
        if (next === null) break;
      }
    } catch (error) {
      at("found").textContent = error.message;
      return;
    }
    body.append(...found.map((lease) => row(lease, open)));
    const count = body.rows.length;
    table.hidden = count === 0;
    at("more").hidden = next === null;
    at("found").textContent = count === 0 ? `No lease is known for that${next ? " so far" : ""}.`
      : `${count} ${count === 1 ? "lease" : "leases"}${next ? ", and there may be more" : ""}.`;
    if (count === 1 && !more && !at("query").value.includes("/")) open(found[0].address);
  };

  // The audit log is read again where something happened, and not to see time pass: it may be long.
  const refresh = async (happened, focus = false) => {
    const address = shown;
    // A question that is open is about what it shows.
    if (!address || at("confirm").open) return;
    const path = `/api/v1/leases/${address}`;
    try {
      const [lease, read] = await Promise.all([
        get(path), happened ? get(`${path}/history`).catch(() => undefined) : history,
      ]);
      if (shown !== address || signal.aborted) return;
      if (happened) history = read;
      tell(story, lease, history, me, () => release(lease));
      const old = [...body.rows].find((each) => each.dataset.address === address);
      if (old && !old.contains(document.activeElement)) old.replaceWith(row(lease, open));
    } catch (error) {
      if (shown !== address) return;
      story.replaceChildren(make("h3", { id: "story-title" }, address), make("p", { className: "muted" }, error.message));
    }
    story.hidden = false;
    if (focus) {
      story.focus({ preventScroll: true });
      story.scrollIntoView({ block: "nearest" });
    }
  };
  const open = (address) => {
    shown = address;
    refresh(true, true);
  };
  const release = async (lease) => {
    if (!await confirmed(lease)) return;
    try {
      await change("DELETE", `/api/v1/leases/${lease.address}`, lease.version);
      toast(`${lease.address} is being taken back from ${lease.hostname ?? lease.hw_address}.`);
    } catch (error) {
      toast(`${lease.address} stays as it is: ${error.message}`, true);
    }
    refresh(true);
  };

  at("search").addEventListener("submit", (event) => { event.preventDefault(); search(false); }, { signal });
  at("more").addEventListener("click", () => search(true), { signal });
  // What the kernel renews makes no event.
  every(5000, () => refresh(false), signal);
  let soon;
  return {
    open,
    happened(event) {
      if (event.address !== shown) return;
      clearTimeout(soon);
      soon = setTimeout(() => refresh(true), 200);
    },
  };
}

function row(lease, open) {
  const address = make("button", { type: "button", className: "link mono" }, lease.address);
  address.addEventListener("click", () => open(lease.address));
  const cell = (label, ...children) => make("td", { data: { label } }, ...children);
  return make("tr", { data: { address: lease.address } },
    make("th", { scope: "row" }, address),
    cell("State", state(lease)),
    cell("Client", lease.hostname ? make("span", {}, lease.hostname) : null, make("span", { className: "mono muted" }, lease.hw_address)),
    cell("Ends in", lease.state === "free" ? "–" : span(lease.expires_in_secs)),
    cell("Renewed by", lease.renewed_by));
}

const state = (lease) => make("span", { className: `badge ${lease.state}` }, lease.leaving ? "leaving" : lease.state);

function tell(home, lease, history, me, release) {
  const focused = document.activeElement?.id === "release";
  const facts = [
    ["Client", lease.hostname],
    ["Hardware address", lease.hw_address],
    ["Client identifier", lease.client_id],
    ["Renewed", timeOf(lease.renewed_at), ` by the ${lease.renewed_by}`],
    ["Ends", timeOf(lease.expires_at), lease.state === "free" ? "" : ` (in ${span(lease.expires_in_secs)})`],
    ["Horizon", timeOf(lease.horizon), make("span", { className: "hint" }, " nobody is promised more")],
    ["In the kernel", lease.kernel ? `${lease.kernel.forms.join(" and ") || "no"} renewals; ${lease.kernel.renewals} answered` : "no"],
  ].filter(([, value]) => value);
  const may = me.role === "operator" || me.role === "admin";
  const bound = lease.state === "bound" && !lease.leaving;
  const button = may ? make("button", { type: "button", className: "danger", id: "release", disabled: !bound }, "Release…") : null;
  button?.addEventListener("click", release);
  home.replaceChildren(
    make("div", { className: "card-head" }, make("h3", { id: "story-title", className: "mono" }, lease.address), state(lease)),
    make("dl", { className: "facts" }, ...facts.flatMap(([name, ...value]) => [make("dt", {}, name), make("dd", {}, ...value)])),
    make("h4", {}, "Who held it"),
    holdings(history),
    make("p", { className: "buttons" }, button ?? make("span", { className: "muted" }, "To release it takes the role operator.")));
  if (focused) button?.focus();
}

function holdings(history) {
  if (!history) return make("p", { className: "muted" }, "No audit log is kept.");
  const lines = history.holdings.slice(-8).reverse().map((holding) => make("li", {},
    make("span", { className: `dot ${holding.to ? "free" : "bound"}` }),
    make("span", {}, make("strong", {}, holding.hostname ?? holding.hw_address ?? "somebody"),
      make("span", { className: "hint" }, holding.from_earlier ? "before " : "", timeOf(holding.from), " – ",
        holding.to ? timeOf(holding.to) : "now", holding.ended ? ` (${holding.ended})` : ""))));
  const doubts = history.doubts.length;
  return make("div", {},
    lines.length ? make("ol", { className: "holdings" }, ...lines) : make("p", { className: "muted" }, "Nothing is on record."),
    doubts ? make("p", { className: "hint" }, `The record has ${doubts} ${doubts === 1 ? "gap" : "gaps"}.`) : null,
    history.complete ? null : make("p", { className: "hint" }, "Only the newest part of the audit log was read."));
}

function confirmed(lease) {
  const dialog = at("confirm");
  at("confirm-title").textContent = `Release ${lease.address}?`;
  at("confirm-text").textContent = `It is taken from ${lease.hostname ?? lease.hw_address}, who is not told: until it renews and `
    + "is refused, it goes on using the address, which may be given to another client meanwhile.";
  at("confirm-yes").textContent = "Release it";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
  });
}
