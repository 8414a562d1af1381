// The meeting: stage, other sites, own picture, five buttons with words, who is here, and what to do when the line is lost.

import { Call } from "/web/call.js";
import { meter, openCamera, openMicrophone } from "/web/devices.js";
import { peopleList, speakDialog, leaveDialog, soundDialog } from "/web/dialogs.js";
import { el, say, t } from "/web/text.js";

const ICONS = {
  mic: "M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zm5-3a5 5 0 0 1-10 0H5a7 7 0 0 0 6 6.9V22h2v-3.100A7 7 0 0 0 19 12z",
  camera: "M4 6h11a1 1 0 0 1 1 1v3l5-3v10l-5-3v3a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1z",
  hand: "M9 2h2v9h1V3h2v8h1V5h2v10a6 6 0 0 1-6 6c-3 0-5-2-6-5l-2-5 2-1 3 4V4h1z",
  share: "M3 4h18v12H3zm2 2v8h14V6zm3 12h8v2H8z",
  sound: "M4 9v6h4l5 5V4L8 9zm12-1v8a4 4 0 0 0 0-8z",
  leave: "M12 9c-4 0-7 1-9 3v4h5v-3a14 14 0 0 1 8 0v3h5v-4c-2-2-5-3-9-3z",
};
const HELP_AFTER = 30;
const UNABLE = -2; // a layer: the box sends nothing, since this browser has not the codec

export function meetingScreen(screen, entry, tracks, home, ended) {
  const call = new Call(entry, tracks, { mic: false, camera: Boolean(tracks.video), screen: false });
  globalThis.edge = { call }; // for support and tests: edge.call.pc.getStats() in the browser's console
  const view = { people: new Map(), you: 0, role: "guest", slots: { video: [], audio: [], speaker: 0 }, spotlight: 0, floor: 0 };
  const tiles = [];
  const voices = [];
  const nobody = el("div", { class: "nobody" }, t("meet.waiting"));
  const notice = el("div", { class: "notice", role: "status", hidden: true });
  const stage = el("section", { class: "stage" }, nobody, notice);
  const thumbs = el("ul", { class: "thumbs" });
  const own = tile(t("meet.self"));
  own.box.classList.add("self");
  thumbs.append(el("li", {}, own.box));
  const controls = el("div", { class: "controls", role: "toolbar" });
  const cover = el("div", { class: "cover", hidden: true });
  const meeting = el("div", { class: "meeting" }, stage, thumbs, controls);
  const buttons = {};
  let meterStop = null;
  let noticeTimer = 0;

  // --- pictures and voices ------------------------------------------------------------------------------------------

  call.addEventListener("track", ({ detail: { audio, index, track } }) => {
    if (audio) {
      voices[index] ??= screen.appendChild(el("audio", { autoplay: true }));
      voices[index].srcObject = new MediaStream([track]);
      voices[index].play().catch((error) => error.name === "NotAllowedError" && tell(t("meet.tap_sound")));
      return;
    }
    if (!tiles[index]) {
      tiles[index] = tile("");
      if (index === 0) stage.prepend(tiles[0].box);
      else thumbs.append(el("li", { hidden: true }, tiles[index].box));
    }
    tiles[index].video.srcObject = new MediaStream([track]);
  });

  function paint() {
    const { people, slots, you } = view;
    slots.video.forEach((seen, index) => {
      const one = tiles[index];
      if (!one) return;
      const person = people.get(seen.member);
      const name = person ? (seen.screen ? t("meet.screen_of", { name: person.name }) : person.name) : "";
      (index === 0 ? one.box : one.box.parentElement).hidden = !person;
      one.name.textContent = name;
      one.video.setAttribute("aria-label", name);
      one.word.textContent = person?.away ? t("meet.away") : seen.layer === UNABLE ? t("meet.unable") : seen.layer < 0 ? t("meet.paused") : "";
      one.box.classList.toggle("frozen", Boolean(person?.away) || seen.layer < 0);
      one.box.classList.toggle("speaking", Boolean(person?.mic) && slots.speaker === seen.member);
    });
    nobody.hidden = Boolean(slots.video[0]?.member);
    nobody.textContent = t(view.waiting ? "meet.waiting" : "meet.empty");
    own.name.textContent = t("meet.you", { name: people.get(you)?.name ?? entry.name });
    own.video.srcObject ??= call.tracks.video ? new MediaStream([call.tracks.video]) : null;
    own.box.parentElement.hidden = !call.tracks.video;
    paintButtons();
    const open = document.getElementById("people-open");
    open.hidden = false;
    open.textContent = t("meet.people", { n: people.size });
    stage.setAttribute("aria-label", t("meet.stage"));
    thumbs.setAttribute("aria-label", t("meet.thumbs"));
    controls.setAttribute("aria-label", t("meet.controls"));
  }

  const sizes = new ResizeObserver(() => report());
  sizes.observe(stage);
  sizes.observe(thumbs);
  let reporting = 0;
  function report() {
    clearTimeout(reporting);
    reporting = setTimeout(() => {
      const ratio = Math.min(2, devicePixelRatio || 1);
      const lines = (box, least) => (document.hidden ? 0 : Math.max(least, Math.round(box.clientHeight * ratio)));
      const thumb = lines(own.box, 100);
      call.view(tiles.map((one, index) => (index === 0 ? lines(stage, 180) : thumb)));
    }, 400);
  }
  document.addEventListener("visibilitychange", report);

  // --- messages -----------------------------------------------------------------------------------------------------

  call.addEventListener("told", ({ detail: told }) => {
    if (told.t === "welcome") Object.assign(view, { you: told.you, role: told.role });
    if (told.t === "members") {
      view.people = new Map(told.people.map((person) => [person.id, person]));
      Object.assign(view, { spotlight: told.spotlight, floor: told.floor, waiting: told.waiting });
    }
    if (told.t === "slots") {
      view.slots = told;
      report();
    }
    if (told.t === "asked" && told.what === "mute") {
      call.tellState();
      tell(t("meet.muted"));
    }
    if (told.t === "asked" && told.what === "speak") speakDialog(screen, () => setMic(true));
    if (told.t === "quality" && told.weak) tell(t("meet.weak"));
    paint();
  });

  function tell(text) {
    clearTimeout(noticeTimer);
    notice.textContent = text;
    notice.hidden = false;
    noticeTimer = setTimeout(() => { notice.hidden = true; }, 4000);
  }

  // --- buttons ------------------------------------------------------------------------------------------------------

  async function setMic(on) {
    if (on && !call.tracks.audio) {
      const { track, failure } = await openMicrophone();
      if (failure) return tell(t(failure.what, failure.values));
      await call.replace("audio", track);
      watch("audio");
      listen();
    }
    call.wanted.mic = on;
    call.tellState();
    notice.hidden = true;
    say(`${t("meet.mic")}: ${t(on ? "meet.mic_on" : "meet.mic_off")}`);
    return paintButtons();
  }

  async function setCamera(on) {
    call.wanted.camera = on;
    if (on) {
      const { track, failure } = await openCamera();
      if (failure) return tell(t(failure.what, failure.values));
      await call.replace("video", track);
      watch("video");
    } else {
      await call.replace("video", null);
    }
    own.video.srcObject = call.tracks.video ? new MediaStream([call.tracks.video]) : null;
    return paint();
  }

  // Unplugged, or taken away by the browser: what the page says must stay true.
  function watch(kind) {
    const track = call.tracks[kind];
    if (!track) return;
    track.onended = async () => {
      if (kind === "video") await setCamera(false);
      else await setMic(false).then(() => call.replace("audio", null));
      tell(t(kind === "video" ? "device.gone_camera" : "device.gone_microphone"));
    };
  }

  async function setScreen(on) {
    if (!on) return call.replace("screen", null).then(paintButtons);
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 10 } } });
      const [track] = stream.getVideoTracks();
      track.contentHint = "detail";
      track.onended = () => setScreen(false);
      await call.replace("screen", track);
    } catch (error) {
      if (error.name !== "NotAllowedError") tell(t("device.failed", { error: error.name }));
    }
    return paintButtons();
  }

  const hand = () => view.people.get(view.you)?.hand ?? 0;
  add("mic", () => setMic(!call.wanted.mic));
  add("camera", () => setCamera(!call.tracks.video));
  add("hand", () => call.say({ t: "hand", up: !hand() }));
  add("share", () => setScreen(!call.tracks.screen));
  add("sound", () => soundDialog(screen, voices, call));
  add("leave", () => leaveDialog(screen, () => call.end({ reason: "left" })));
  buttons.leave.classList.add("danger");
  buttons.share.hidden = true;

  function add(kind, press) {
    const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    icon.setAttribute("viewBox", "0 0 24 24");
    icon.setAttribute("aria-hidden", "true");
    icon.innerHTML = `<path d="${ICONS[kind]}"/>`;
    buttons[kind] = el("button", { id: `do-${kind}`, onclick: press }, icon, el("span", {}, t(`meet.${kind}`)), el("small"));
    controls.append(buttons[kind]);
  }

  function paintButtons() {
    for (const [kind, button] of Object.entries(buttons)) button.querySelector("span").textContent = t(`meet.${kind}`);
    const set = (kind, on, hint) => {
      if (on !== null) buttons[kind].setAttribute("aria-pressed", String(on));
      buttons[kind].querySelector("small").textContent = hint;
    };
    set("mic", call.wanted.mic, t(call.wanted.mic ? "meet.mic_on" : "meet.mic_off"));
    set("camera", Boolean(call.tracks.video), t(call.tracks.video ? "meet.camera_on" : "meet.camera_off"));
    set("hand", Boolean(hand()), hand() ? t("meet.hand_up", { n: hand() }) : t("meet.hand_down"));
    set("share", Boolean(call.tracks.screen), t(call.tracks.screen ? "meet.share_on" : "meet.share_off"));
    set("sound", null, t("meet.sound_hint"));
    set("leave", null, t("meet.leave_hint"));
    buttons.share.hidden = view.role === "guest" || !navigator.mediaDevices?.getDisplayMedia;
  }

  function keys(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || /^(input|select|textarea)$/i.test(event.target.tagName)) return;
    const kind = { m: "mic", c: "camera", h: "hand" }[event.key.toLowerCase()];
    if (kind && !document.querySelector("dialog[open]")) buttons[kind].click();
  }
  document.addEventListener("keydown", keys);
  document.addEventListener("language", paint);
  const hear = () => voices.forEach((voice) => voice.paused && voice.play().catch(() => tell(t("meet.tap_sound"))));
  screen.addEventListener("click", hear);

  // Speaking while the microphone is off: say so once in a while.
  function listen() {
    meterStop?.();
    let loud = 0;
    if (!call.tracks.audio) return;
    meterStop = meter(call.tracks.audio, (level) => {
      loud = level > 0.55 && !call.wanted.mic ? loud + 1 : 0;
      if (loud === 8) tell(t("meet.talking_muted"));
    });
  }

  // --- lost and ended -----------------------------------------------------------------------------------------------

  call.addEventListener("state", () => {
    cover.hidden = call.state !== "lost";
    meeting.inert = call.state === "lost";
    paintLost();
    if (call.state === "lost") say(t("lost.title"));
    if (call.state === "open") paint();
    if (call.state === "ended") {
      close();
      ended(call.refusal);
    }
  });
  const lost = {
    title: el("h2"), seconds: el("p"), blocked: el("p"), phone: el("p"), now: el("button", { id: "now", onclick: () => call.connect() }),
  };
  cover.append(el("div", {}, ...Object.values(lost)));
  const paintLost = () => {
    const seconds = Math.round((Date.now() - call.lostAt) / 1000);
    const late = seconds >= HELP_AFTER;
    lost.title.textContent = t("lost.title");
    lost.seconds.textContent = t("lost.seconds", { n: seconds });
    lost.blocked.textContent = call.blocked ? t("lost.blocked") : "";
    lost.phone.textContent = late && home.help_phone ? t("app.help", { phone: home.help_phone }) : "";
    lost.now.textContent = t("lost.now");
    lost.now.hidden = !late;
  };
  const ticking = setInterval(() => call.state === "lost" && paintLost(), 1000);

  const stay = (event) => event.preventDefault();
  addEventListener("beforeunload", stay);
  let awake = null;
  navigator.wakeLock?.request("screen").then((lock) => { awake = lock; }, () => {});
  const people = document.getElementById("people-open");
  people.onclick = () => peopleList(screen, view, call);

  function close() {
    meterStop?.();
    clearInterval(ticking);
    sizes.disconnect();
    awake?.release();
    removeEventListener("beforeunload", stay);
    document.removeEventListener("keydown", keys);
    document.removeEventListener("language", paint);
    screen.removeEventListener("click", hear);
    document.removeEventListener("visibilitychange", report);
    for (const track of Object.values(call.tracks)) track?.stop();
  }

  document.body.classList.add("in-meeting");
  screen.append(meeting, cover);
  for (const kind of ["audio", "video"]) watch(kind);
  listen();
  paint();
}

function tile(label) {
  const video = el("video", { autoplay: true, muted: true, playsInline: true, "aria-label": label });
  const name = el("span", { class: "name" });
  const word = el("span", { class: "word" });
  return { box: el("div", { class: "tile" }, video, word, name), video, name, word };
}
