// Elements and words: how things are made and how figures are written. No state, no requests.

/** The element with this id, which is in index.html. */
export const at = (id) => document.getElementById(id);

/** A new element. Properties are set as such; those with a hyphen, and `role`, as attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else if (name === "data") Object.assign(element.dataset, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A bar that says how much of something is used. */
export function bar(percent, label, kind = "") {
  const clamped = Math.max(0, Math.min(100, percent));
  const fill = make("span", { className: `fill ${kind}` });
  fill.style.width = `${clamped}%`;
  return make("div", {
    className: "bar", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100",
    "aria-valuenow": clamped.toFixed(1), "aria-label": label,
  }, fill);
}

/** 1234567 as 1,234,567. */
export const whole = (number) => Math.round(number).toLocaleString("en");

/** A rate: precise where it is small, short where it is large. */
export function rate(number) {
  if (number >= 1e6) return `${(number / 1e6).toFixed(2)} M`;
  if (number >= 1e4) return `${(number / 1e3).toFixed(1)} k`;
  if (number >= 100 || Number.isInteger(number)) return whole(number);
  return number.toFixed(number >= 10 ? 1 : 2);
}

/** A length of time in its two largest units. */
export function span(secs) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.max(0, Math.round(secs));
  const parts = [];
  for (const [name, size] of units) {
    if (rest >= size && parts.length < 2) parts.push(`${Math.floor(rest / size)} ${name}`);
    if (rest >= size) rest %= size;
  }
  return parts.join(" ") || "0 s";
}

/** Microseconds as people say them. */
export function micros(us) {
  if (us >= 1e6) return `${us / 1e6} s`;
  return us >= 1000 ? `${us / 1000} ms` : `${us} µs`;
}

/** How long ago an RFC 3339 moment was. */
export function ago(text) {
  const secs = (Date.now() - Date.parse(text)) / 1000;
  if (Number.isNaN(secs)) return "never";
  return secs < 2 ? "now" : `${span(secs)} ago`;
}

/** The time of day of an RFC 3339 moment; with the date if it is another day. */
export function clock(text) {
  const moment = new Date(text);
  if (Number.isNaN(moment.getTime())) return "";
  const time = moment.toLocaleTimeString("en-GB");
  const today = moment.toDateString() === new Date().toDateString();
  return today ? time : `${moment.toLocaleDateString("en-CA")} ${time}`;
}

/** A moment that a machine can read too. */
export const timeOf = (text) => make("time", { dateTime: text, title: text }, clock(text));

/** Says something for a moment, to screen readers as well. */
export function toast(text, bad = false) {
  const element = at("toast");
  element.textContent = text;
  element.classList.toggle("bad", bad);
  element.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { element.hidden = true; }, 8000);
}
