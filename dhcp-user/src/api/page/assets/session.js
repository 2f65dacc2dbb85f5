// Who looks: the form that asks for a token, and what the page is told of the caller.

import { at } from "./dom.js";
import { get, token, whenUnauthorized } from "./client.js";

let running;

/** Asks for a token where there is none that will do, and calls `begin(me, signal)` for each session. */
export function session(begin) {
  const form = at("sign-in-form");
  const ask = (why = "") => {
    running?.abort();
    running = undefined;
    at("panels").hidden = true;
    at("who").hidden = true;
    at("sign-in").hidden = false;
    at("sign-in-problem").textContent = why;
    at("token").focus();
  };
  const enter = async (first) => {
    let me;
    try {
      me = await get("/api/v1/whoami", { quiet: true });
    } catch (error) {
      const needed = first && error.status === 401 && !token.get();
      if (error.status === 401) token.forget();
      ask(needed ? "" : `That did not work: ${error.message}`);
      return;
    }
    running?.abort();
    running = new AbortController();
    at("sign-in").hidden = true;
    at("sign-in-problem").textContent = "";
    at("panels").hidden = false;
    at("who").hidden = false;
    at("role").textContent = me.role;
    at("role").title = me.name;
    begin(me, running.signal);
    if (!first) at("main").focus();
  };
  whenUnauthorized((detail) => {
    token.forget();
    ask(`You were signed out: ${detail ?? "the token will not do any more"}.`);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token.set(at("token").value.trim());
    at("token").value = "";
    enter(false);
  });
  at("sign-out").addEventListener("click", () => {
    token.forget();
    ask();
  });
  enter(true);
}
