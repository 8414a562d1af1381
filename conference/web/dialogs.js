// What opens over the meeting: who is here, being asked to speak, leaving, sound.

import { chime, list, remember } from "/web/devices.js";
import { el, t } from "/web/text.js";

function open(screen, title, ...children) {
  const box = el("dialog", { "aria-label": title }, el("h2", {}, title), ...children);
  box.addEventListener("close", () => box.remove());
  screen.append(box);
  box.showModal();
  return box;
}

export function speakDialog(screen, speak) {
  const box = open(screen, t("meet.asked_speak"),
    el("button", { class: "big main", id: "speak-now", onclick: () => { box.close(); speak(); } }, t("meet.speak_now")),
    el("button", { class: "big", onclick: () => box.close() }, t("meet.not_now")),
  );
}

export function leaveDialog(screen, leave) {
  const box = open(screen, t("meet.leave_ask"),
    el("button", { class: "big danger", id: "leave-yes", onclick: () => { box.close(); leave(); } }, t("meet.leave_yes")),
    el("button", { class: "big", onclick: () => box.close() }, t("meet.leave_no")),
  );
}

export async function soundDialog(screen, voices, call) {
  const volume = el("input", { type: "range", min: "0", max: "100", id: "volume", value: String(Math.round((voices[0]?.volume ?? 1) * 100)) });
  volume.oninput = () => voices.forEach((voice) => { voice.volume = volume.value / 100; });
  const box = open(screen, t("meet.sound"),
    el("label", { for: "volume" }, t("meet.volume")), volume,
    el("div", { class: "pair" }, el("button", { onclick: () => chime(localStorage.getItem("chosen.output")) }, t("check.speaker_play"))),
    el("div", { class: "pair", id: "outputs" }),
    el("div", { class: "pair last" }, el("button", { onclick: () => box.close() }, t("meet.close"))),
  );
  if (!voices[0]?.setSinkId) return;
  const outputs = (await list()).filter((device) => device.kind === "audiooutput");
  const select = el("select", { id: "output" }, ...outputs.map((device) => el("option", { value: device.deviceId }, device.label)));
  select.onchange = () => {
    remember("output", select.value);
    voices.forEach((voice) => voice.setSinkId(select.value).catch(() => call.tellState()));
  };
  if (outputs.length) box.querySelector("#outputs").append(el("label", {}, t("check.output"), select));
}

export function peopleList(screen, view, call) {
  const leads = view.role === "chair" || view.role === "secretary";
  const all = el("div", { class: "pair" });
  const items = el("ul", { class: "people" });
  const box = open(screen, t("meet.people_title"), all, items,
    el("div", { class: "pair last" }, el("button", { onclick: () => stop() }, t("meet.close"))));
  if (leads) all.append(el("button", { onclick: () => call.say({ t: "mute", member: 0 }) }, t("meet.mute_all")));

  const paint = () => {
    const sorted = [...view.people.values()].sort((a, b) => (a.hand || 999) - (b.hand || 999) || a.id - b.id);
    const had = items.contains(document.activeElement) ? document.activeElement.dataset.act : "";
    items.replaceChildren(...sorted.map((person) => el("li", {},
      el("b", {}, person.id === view.you ? t("meet.you", { name: person.name }) : person.name),
      ` · ${facts(person, view).join(" · ")}`,
      leads ? actions(person, view, call) : "")));
    if (had) items.querySelector(`[data-act="${had}"]`)?.focus(); // whoever goes by keyboard stays where they were
  };
  const stop = () => {
    call.removeEventListener("told", later);
    box.close();
  };
  const later = ({ detail }) => detail.t === "members" && setTimeout(paint);
  call.addEventListener("told", later);
  box.addEventListener("cancel", stop);
  paint();
}

function facts(person, view) {
  return [
    t(`role.${person.role}`),
    person.away ? t("meet.away") : `${t("meet.mic")}: ${t(person.mic ? "meet.mic_on" : "meet.mic_off")}`,
    person.hand ? t("meet.hand_place", { n: person.hand }) : "",
    view.floor === person.id ? t("meet.has_floor") : "",
  ].filter(Boolean);
}

function actions(person, view, call) {
  const does = (words, message) => el("button", { "data-act": `${message.t}-${person.id}`, onclick: () => call.say(message) }, t(words));
  const floor = view.floor === person.id;
  const shown = view.spotlight === person.id;
  return el("div", { class: "pair" },
    does(floor ? "meet.floor_end" : "meet.floor", { t: "floor", member: floor ? 0 : person.id }),
    does(shown ? "meet.spotlight_end" : "meet.spotlight", { t: "spotlight", member: shown ? 0 : person.id }),
    person.mic ? does("meet.mute", { t: "mute", member: person.id }) : "",
    person.role === "chair" ? "" : does("meet.remove", { t: "remove", member: person.id }),
  );
}
