// The way through the page: home, device check, meeting, end. Each screen is a function that fills <main>.

import { checkScreen } from "/web/check.js";
import { meetingScreen } from "/web/meeting.js";
import { clock, current, day, el, load, refusal, say, t } from "/web/text.js";

const screen = document.getElementById("screen");
let home = { name: "", language: "vi", help_phone: "", room: "", open: true };
let invitation = readInvitation();
let show = showHome;

// An invitation link carries its ticket behind the #, which no server sees. It outlives a reload of this tab, with the
// seat; a device ticket stays on the machine, once the box has let somebody in with it.
function readInvitation() {
  const token = new URLSearchParams(location.hash.slice(1)).get("t");
  if (token) history.replaceState(null, "", location.pathname);
  const kept = token ? null : JSON.parse(sessionStorage.getItem("invitation"));
  return kept ?? invited(token) ?? invited(localStorage.getItem("own.ticket"));
}

function invited(token) {
  const claims = token && readClaims(token);
  return claims ? { ticket: token, first: token, room: claims.room, name: claims.name, device: Boolean(claims.device) } : null;
}

// What the box gave meanwhile: a seat, a fresh ticket.
function keep(mine, given) {
  Object.assign(mine, given);
  if (mine.device && mine.seat) localStorage.setItem("own.ticket", mine.first);
  if (mine === invitation) sessionStorage.setItem("invitation", JSON.stringify(mine));
}

// `ended`: it is good for nothing any more. Who was sent out keeps the machine's own ticket: it is not only theirs.
function forget(ended) {
  if (ended && invitation?.first === localStorage.getItem("own.ticket")) localStorage.removeItem("own.ticket");
  sessionStorage.removeItem("invitation");
  invitation = invited(localStorage.getItem("own.ticket"));
}

function readClaims(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

async function enter(wanted) {
  const response = await fetch("/api/enter", { method: "POST", body: JSON.stringify(wanted) });
  return response.json();
}

// What stands around every screen.
function frame() {
  document.getElementById("help").hidden = !home.help_phone;
  document.getElementById("help").textContent = t("app.help", { phone: home.help_phone });
  document.getElementById("place").textContent = home.name || t("app.name");
  const other = document.getElementById("language");
  other.textContent = t("app.language");
  other.lang = current() === "vi" ? "en" : "vi";
}

function go(next) {
  show = next;
  document.body.classList.remove("in-meeting");
  document.getElementById("people-open").hidden = true;
  frame();
  screen.replaceChildren();
  next();
  screen.focus();
}

// --- home -------------------------------------------------------------------------------------------------------------

function showHome() {
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const code = codeForm(problem);
  const join = async () => {
    if (!invitation && !home.open) {
      code.open = true;
      code.querySelector("input").focus();
      return tell(problem, t("home.code_needed"));
    }
    go(() => showCheck());
  };
  screen.append(
    el("div", { class: "narrow" },
      el("h1", {}, home.title || t("app.name")),
      el("p", { id: "when" }, when()),
      problem,
      el("button", { class: "big main", id: "join", onclick: join }, t("home.join")),
      el("button", { class: "big", id: "check", onclick: () => go(() => showCheck()) }, t("home.check")),
      code,
    ),
  );
}

function codeForm(problem) {
  const input = el("input", { inputmode: "numeric", autocomplete: "one-time-code", maxlength: "12", id: "code" });
  const submit = async (event) => {
    event.preventDefault();
    const told = await enter({ code: input.value }).catch(() => null);
    if (!told) return tell(problem, t("home.offline"));
    if (told.reason) return tell(problem, refusal(told));
    invitation = { ticket: told.ticket, room: told.room, name: "" };
    keep(invitation, {});
    go(() => showCheck());
  };
  input.addEventListener("input", () => {
    const digits = input.value.replace(/\D/g, "").slice(0, 8);
    input.value = digits.length > 4 ? `${digits.slice(0, 4)} ${digits.slice(4)}` : digits;
  });
  return el("details", { class: "card" },
    el("summary", {}, t("home.code")),
    el("form", { onsubmit: submit },
      el("label", { for: "code" }, t("home.code_label")), input,
      el("div", { class: "pair" }, el("button", { type: "submit" }, t("home.code_enter"))),
    ),
  );
}

function tell(problem, text) {
  problem.textContent = text;
  problem.hidden = false;
}

function when() {
  if (!home.start) return t(home.open || invitation ? "home.none" : "home.none_code");
  const start = new Date(home.start);
  const time = clock(start, home.timezone);
  const minutes = Math.round((start - Date.now()) / 60000);
  if (minutes <= 0) return t("home.now", { time });
  if (day(start, home.timezone) !== day(new Date(), home.timezone)) return t("home.later", { date: day(start, home.timezone), time });
  const left = minutes < 60 ? t("home.minutes", { n: minutes }) : t("home.hours", { h: Math.floor(minutes / 60), n: minutes % 60 });
  return t("home.today", { time, left });
}

// --- check, meeting, end ----------------------------------------------------------------------------------------------

function showCheck() {
  checkScreen(screen, {
    name: invitation?.name || localStorage.getItem("name") || "",
    fixed: Boolean(invitation?.name),
    back: () => go(showHome),
    join: (name, tracks) => {
      localStorage.setItem("name", name);
      return joinMeeting(name, tracks);
    },
  });
}

async function joinMeeting(name, tracks) {
  if (!invitation) {
    const told = await enter({ name }).catch(() => null);
    if (!told || told.reason) return told ? refusal(told) : t("home.offline");
    invitation = { ticket: told.ticket, room: told.room, name: "", open: true };
  }
  const mine = invitation;
  const fresh = async () => (await enter({ name }).catch(() => null))?.ticket;
  const entry = { ...mine, name, renew: mine.open ? fresh : null, keep: (given) => keep(mine, given) };
  go(() => meetingScreen(screen, entry, tracks, home, (told) => go(() => showEnd(told))));
  return "";
}

const OVER = new Set(["removed", "revoked", "expired", "wrong_room", "invalid", "no_room"]);

function showEnd(told) {
  const text = told ? refusal(told) : t("end.left");
  const over = told && OVER.has(told.reason); // with this ticket there is no way back
  const again = el("button", { class: "big main", id: "again", onclick: () => go(() => showCheck()) }, t("end.again"));
  if (over || invitation?.open) forget(over && told.reason !== "removed");
  else if (invitation) keep(invitation, { seat: "" });
  say(text);
  screen.append(
    el("div", { class: "narrow", "data-still": "" },
      el("h1", {}, text),
      ...(over ? [] : [again]),
      el("button", { class: over ? "big main" : "big", id: "home", onclick: () => go(showHome) }, t("end.home")),
    ),
  );
}

// --- start ------------------------------------------------------------------------------------------------------------

async function ask() {
  try {
    home = await (await fetch("/api/home")).json();
  } catch {
    setTimeout(async () => (await ask()) && show === showHome && go(show), 3000);
    return false;
  }
  return true;
}

document.getElementById("language").addEventListener("click", async () => {
  await load(current() === "vi" ? "en" : "vi");
  frame();
  if (show === showHome || document.querySelector("[data-still]")) return go(show);
  document.dispatchEvent(new Event("language"));
});

setInterval(async () => {
  const line = document.getElementById("when");
  if (line && (await ask())) line.textContent = when();
}, 30000);

const known = await ask();
await load(localStorage.getItem("language") ?? home.language);
go(show);
if (!known) screen.prepend(el("p", { class: "problem narrow", role: "alert" }, t("home.offline")));
