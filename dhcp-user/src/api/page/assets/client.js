// The API: requests with the token, and the stream of events, which is read by fetch because an EventSource cannot send one.

const KEY = "dhcp-token";

/** The caller's token while this tab is open. */
export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** A request that was refused: `status` and the problem's own words. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let onUnauthorized = () => {};

/** Calls `act` when the token is no good (any more). */
export const whenUnauthorized = (act) => { onUnauthorized = act; };

async function send(path, options) {
  const headers = { ...options.headers };
  // Without one a client certificate may do.
  if (token.get()) headers.authorization = `Bearer ${token.get()}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
  if (response.ok || (path === "/readyz" && response.status === 503)) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && !options.quiet) onUnauthorized(problem.detail);
  throw new Refused(response.status, problem.detail ?? `The server says ${response.status}.`);
}

/** What is at a path, as JSON. */
export async function get(path, options = {}) {
  const response = await send(path, { ...options, signal: AbortSignal.timeout(10_000) });
  return response.json();
}

/** Changes something, if it still is what was looked at. */
export async function change(method, path, version) {
  const headers = version ? { "if-match": `"${version}"` } : {};
  const response = await send(path, { method, headers, signal: AbortSignal.timeout(10_000) });
  return response.json();
}

/** Calls `act` every so many milliseconds, one call after the other, seldom while nobody looks. */
export function every(millis, act, signal) {
  let timer;
  const turn = async () => {
    try {
      await act();
    } finally {
      if (!signal.aborted) timer = setTimeout(turn, document.hidden ? Math.max(millis, 15_000) : millis);
    }
  };
  const look = () => {
    if (document.hidden || signal.aborted || timer === undefined) return;
    clearTimeout(timer);
    timer = undefined;
    turn();
  };
  document.addEventListener("visibilitychange", look, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
}

/** Follows the stream of events until aborted: `onEvent(kind, data)` for each, `onState(live)` when it comes or goes. */
export async function follow(onEvent, onState, signal) {
  let last;
  let wait = 500;
  while (!signal.aborted) {
    try {
      const headers = last === undefined ? {} : { "last-event-id": last };
      const response = await send("/api/v1/events?recent=50", { headers, signal });
      onState(true);
      wait = 500;
      for await (const event of events(response.body)) {
        if (event.id !== undefined) last = event.id;
        onEvent(event.kind, event.data);
      }
    } catch (error) {
      if (signal.aborted || (error.status >= 400 && error.status < 500 && error.status !== 429)) return;
    }
    onState(false);
    await new Promise((done) => { setTimeout(done, wait); });
    wait = Math.min(wait * 2, 15_000);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const event = { kind: "message", data: "" };
      for (const line of block.split("\n")) {
        const [, name, rest] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
        if (name === "event") event.kind = rest;
        else if (name === "id") event.id = rest;
        else if (name === "data") event.data += rest;
      }
      if (event.data) yield event;
    }
  }
}
