// Device check: four rows that tick themselves. Joining is possible at any time, with what works.

import { chime, list, meter, openCamera, openMicrophone, remember, secure } from "/web/devices.js";
import { el, t } from "/web/text.js";

const SILENT_AFTER = 5000;
const SPOKEN = 0.25;
const SLOW = 300;

export function checkScreen(screen, { name, fixed, back, join }) {
  const tracks = { audio: null, video: null, screen: null };
  const stops = [];
  const preview = el("video", { class: "preview", autoplay: true, muted: true, playsInline: true });
  const level = el("i");
  const rows = {
    picture: row("check.picture", preview),
    voice: row("check.voice", el("div", { class: "level", role: "presentation" }, level)),
    speaker: row("check.speaker"),
    network: row("check.network"),
  };
  const input = el("input", { id: "name", maxlength: "60", autocomplete: "name", value: name });
  input.readOnly = fixed;
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const button = el("button", { class: "big main", id: "enter" }, t("check.join"));
  const devices = el("details", { class: "card" }, el("summary", {}, t("check.devices")));

  let left = false;
  let joining = false;
  const leave = () => {
    left = true;
    stops.splice(0).forEach((stop) => stop());
    document.removeEventListener("language", repaint);
  };
  const close = () => {
    leave();
    for (const track of Object.values(tracks)) track?.stop();
  };
  const repaint = () => {
    close();
    screen.replaceChildren();
    checkScreen(screen, { name: input.value, fixed, back, join });
  };
  document.addEventListener("language", repaint);

  button.onclick = async () => {
    if (joining) return;
    joining = true;
    const refused = await join(input.value.trim(), { ...tracks });
    joining = false;
    if (!refused) return leave();
    problem.textContent = refused;
    problem.hidden = !refused;
  };

  const label = () => {
    button.textContent = t(tracks.video ? "check.join" : tracks.audio ? "check.join_audio" : "check.join_watch");
  };

  async function picture() {
    rows.picture.set("wait", t("check.picture_wait"));
    const { track, failure } = await openCamera();
    if (left) return track?.stop();
    if (failure) return rows.picture.fail(failure, picture);
    tracks.video?.stop();
    tracks.video = track;
    preview.srcObject = new MediaStream([track]);
    rows.picture.set("ok", t("check.picture_ok"));
    label();
  }

  async function voice() {
    rows.voice.set("wait", t("check.voice_wait"));
    const { track, failure } = await openMicrophone();
    if (left) return track?.stop();
    if (failure) return rows.voice.fail(failure, voice);
    tracks.audio?.stop();
    tracks.audio = track;
    rows.voice.set("wait", t("check.voice_say"));
    label();
    let spoken = false;
    const late = setTimeout(() => spoken || rows.voice.set("bad", t("check.voice_silent")), SILENT_AFTER);
    const stop = meter(track, (loud) => {
      level.style.width = `${Math.round(loud * 100)}%`;
      if (loud > SPOKEN && !spoken) {
        spoken = true;
        rows.voice.set("ok", t("check.voice_ok"));
      }
    });
    stops.push(stop, () => clearTimeout(late));
  }

  function speaker() {
    const play = el("button", {}, t("check.speaker_play"));
    play.onclick = async () => {
      await chime(localStorage.getItem("chosen.output"));
      rows.speaker.set("wait", t("check.speaker_ask"),
        el("button", { onclick: () => rows.speaker.set("ok", t("check.speaker_ok")) }, t("check.speaker_yes")),
        el("button", { onclick: () => rows.speaker.set("bad", t("check.speaker_help"), play) }, t("check.speaker_no")),
      );
    };
    rows.speaker.set("wait", "", play);
  }

  async function network() {
    rows.network.set("wait", t("check.network_wait"));
    const times = [];
    try {
      for (let turn = 0; turn < 4; turn++) {
        const began = performance.now();
        await fetch("/api/home", { cache: "no-store" });
        times.push(performance.now() - began);
      }
    } catch {
      return rows.network.set("bad", t("check.network_bad"), el("button", { onclick: network }, t("check.retry")));
    }
    const ms = Math.round(Math.min(...times));
    return rows.network.set("ok", t(ms > SLOW ? "check.network_slow" : "check.network_ok", { ms }));
  }

  async function choices() {
    const kinds = { videoinput: "camera", audioinput: "microphone", audiooutput: "output" };
    const found = await list();
    const again = { camera: picture, microphone: voice, output: speaker };
    const selects = Object.entries(kinds).map(([kind, id]) => {
      const options = found.filter((device) => device.kind === kind)
        .map((device, at) => el("option", { value: device.deviceId }, device.label || `${t(`check.${id}`)} ${at + 1}`));
      const select = el("select", { id: `choose-${id}` }, ...options);
      select.value = localStorage.getItem(`chosen.${id}`) ?? select.value;
      select.onchange = () => {
        remember(id, select.value);
        again[id]();
      };
      return options.length ? el("label", {}, t(`check.${id}`), select) : null;
    });
    devices.append(...selects.filter(Boolean));
  }

  const named = [el("label", { for: "name" }, t("check.name")), input];
  screen.append(
    el("div", { class: "narrow" },
      el("h1", {}, t("check.title")),
      ...(fixed ? [] : named), // first, for it is all that a person has to type
      secure() ? el("p", {}, t("check.before")) : insecure(),
      el("section", { class: "card" }, ...Object.values(rows).map((one) => one.box)),
      devices,
      ...(fixed ? named : []),
      el("p", {}, t("check.mic_note")),
      el("div", { class: "dock" }, problem, button),
      el("button", { class: "big quiet", onclick: () => { close(); back(); } }, t("check.back")),
    ),
  );
  label();
  network();
  speaker();
  picture().then(voice).then(choices);
}

function insecure() {
  const address = `https://${location.host}${location.pathname}`;
  return el("div", { class: "problem", role: "alert" },
    el("p", {}, t("device.insecure")), el("a", { class: "button", href: address }, t("device.open_secure")));
}

// One row: a mark with its word, what is checked, and what came out.
function row(title, extra = null) {
  const mark = el("span", { class: "mark", "aria-hidden": "true" }, "…");
  const text = el("div", { "aria-live": "polite" });
  const actions = el("div", { class: "pair" });
  const box = el("div", { class: "row wait" }, mark, el("b", {}, t(title)), el("div", {}, text, extra ?? "", actions));
  const set = (state, words, ...buttons) => {
    box.className = `row ${state}`;
    mark.textContent = { ok: "✓", bad: "✗", wait: "…" }[state];
    text.textContent = words;
    actions.replaceChildren(...buttons);
  };
  const fail = (failure, again) => {
    const retry = failure.again ? [el("button", { onclick: again }, t("check.retry"))] : [];
    set("bad", t(failure.what, failure.values), ...retry);
  };
  return { box, set, fail };
}
