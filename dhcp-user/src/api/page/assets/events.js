// What becomes of leases and sites, the newest first. In a storm the page draws once a frame and keeps the last hundred.

import { at, make, timeOf } from "./dom.js";

const KEPT = 100;
const WORDS = { bound: "granted", free: "free", quarantined: "declined" };

/** Shows events until the session ends; `open(address)` is called for one that is chosen. */
export function events(open, signal) {
  const list = at("events-list");
  const button = at("events-pause");
  list.replaceChildren(make("li", { className: "muted empty" }, "Nothing has happened yet."));
  let waiting = [];
  let paused = false;
  let drawing = false;
  const draw = () => {
    drawing = false;
    if (paused || signal.aborted || waiting.length === 0) return;
    list.querySelector(".empty")?.remove();
    list.prepend(...waiting.reverse().map((event) => row(event, open)));
    waiting = [];
    while (list.children.length > KEPT) list.lastElementChild.remove();
  };
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    draw();
  }, { signal });
  return {
    add(kind, data) {
      if (kind === "missed") waiting.push({ missed: data });
      else if (kind === "lease") waiting.push(JSON.parse(data));
      else if (kind === "site") waiting.push({ ...JSON.parse(data), ofSites: true });
      else return;
      if (waiting.length > KEPT) waiting = waiting.slice(-KEPT);
      if (!drawing) {
        drawing = true;
        // A page that is not looked at is given no frames.
        if (document.hidden) setTimeout(draw, 500);
        else requestAnimationFrame(draw);
      }
    },
  };
}

function row(event, open) {
  if (event.missed) return make("li", { className: "muted" }, `${event.missed} events were missed.`);
  if (event.ofSites) {
    return make("li", { className: "of-sites" },
      make("span", { className: `dot ${mood(event)}` }),
      make("span", { className: "detail" }, event.detail),
      timeOf(event.at));
  }
  const address = make("button", { type: "button", className: "link mono" }, event.address);
  address.addEventListener("click", () => open(event.address));
  return make("li", {},
    make("span", { className: `dot ${event.state}` }),
    make("span", { className: "what" }, WORDS[event.state] ?? event.state),
    address,
    make("span", { className: "client" }, event.hostname ?? event.hw_address),
    timeOf(event.at));
}

/** Whether what happened to sites is good, bad or neither, as the dots of leases say it. */
function mood(event) {
  if (["active", "up", "in"].includes(event.now) || event.kind === "opened") return "bound";
  const bad = ["down", "cut", "out"].includes(event.now) || event.kind === "taken_over" || (event.kind === "leader" && !event.now);
  return bad ? "quarantined" : "";
}
