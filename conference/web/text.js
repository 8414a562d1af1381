// Texts in both languages, from the same files that the tests compare. `t` fills {placeholders}.

let words = {};
let language = "vi";

export async function load(wanted) {
  const response = await fetch(`/web/text/${wanted}.json`);
  words = await response.json();
  language = wanted;
  document.documentElement.lang = wanted;
  document.title = t("app.name");
  localStorage.setItem("language", wanted);
}

export const current = () => language;

export function t(id, values = {}) {
  return (words[id] ?? id).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function refusal(told) {
  return t(`refused.${told.reason}`, { ...told, minutes: Math.ceil((told.retry ?? 0) / 60) });
}

// Dates are Vietnamese or English by our own choice, never by the browser's.
export const clock = (date, zone) => format({ hour: "2-digit", minute: "2-digit" }, date, zone);

export const day = (date, zone) => format({ day: "2-digit", month: "2-digit", year: "numeric" }, date, zone);

function format(parts, date, zone) {
  try {
    return new Intl.DateTimeFormat("en-GB", { ...parts, timeZone: zone || undefined }).format(date);
  } catch {
    return new Intl.DateTimeFormat("en-GB", parts).format(date); // a zone that this browser does not know
  }
}

// --- elements: el("button", {class: "big", onclick}, "text", child…) ---

export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function say(text) {
  document.getElementById("live").textContent = text;
}
