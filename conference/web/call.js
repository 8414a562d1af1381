// One meeting: the WebSocket, the peer connection, and getting both back when they are lost.
// Offered once: 1 voice, 1 camera and 1 screen to send, then the slots to receive. What a slot shows is told by messages.
// Events: "state" (connecting, open, lost, ended), "told" (a message of the box), "track" (a slot's track).

const VERSION = 1;
const CONNECT_TIME = 8000;
const FEW_LINES = 720;
const RETRIES = [300, 1000, 2000, 2000, 3000];
const AGAIN = new Set(["full", "busy", "closing"]);

export class Call extends EventTarget {
  constructor(entry, tracks, wanted) {
    super();
    // {ticket, room, name, seat, renew, keep}: renew gets a fresh ticket when the old one has expired, keep remembers
    // what the box gave, for a reload of the page
    this.entry = entry;
    this.tracks = tracks; // {audio, video, screen}
    this.wanted = wanted; // {mic, camera, screen}
    this.seat = entry.seat ?? "";
    this.state = "connecting";
    this.heights = [];
    this.tries = 0;
    this.lostAt = 0;
    this.blocked = false;
    this.connect();
  }

  // --- connection ---------------------------------------------------------------------------------------------------

  connect() {
    clearTimeout(this.timer);
    this.drop();
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.socket = socket;
    this.timer = setTimeout(() => this.lost(socket), CONNECT_TIME);
    socket.onopen = () => this.say({ t: "hello", v: VERSION, ...this.ticket(), seat: this.seat });
    socket.onmessage = (event) => this.take(socket, JSON.parse(event.data));
    socket.onclose = () => this.lost(socket);
  }

  ticket() {
    return { ticket: this.entry.ticket, room: this.entry.room, name: this.entry.name };
  }

  async take(socket, told) {
    if (socket !== this.socket) return;
    if (told.t === "welcome") await this.welcomed(told);
    if (told.t === "renewed") {
      this.entry.ticket = told.ticket;
      this.entry.keep({ ticket: told.ticket });
    }
    if (told.t === "answer") await this.answered(told.sdp);
    if (told.t === "refusal") return this.refused(told);
    if (told.t === "asked" && told.what === "mute") this.wanted.mic = false;
    this.dispatchEvent(new CustomEvent("told", { detail: told }));
  }

  async welcomed(welcome) {
    this.seat = welcome.seat;
    this.entry.keep({ seat: welcome.seat });
    this.blocked = this.tries > 2; // the box answers, yet media has not come through for a while
    this.welcome = welcome;
    await this.offer(welcome);
    this.tellState();
    if (this.heights.length) this.say({ t: "view", heights: this.heights });
  }

  async offer(welcome) {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc = pc;
    pc.onconnectionstatechange = () => this.changed(pc);
    const once = { direction: "sendonly" };
    this.voice = pc.addTransceiver(this.tracks.audio ?? "audio", once);
    this.camera = pc.addTransceiver(this.tracks.video ?? "video", { ...once, sendEncodings: encodings(this.tracks.video, welcome) });
    this.screen = pc.addTransceiver(this.tracks.screen ?? "video", { ...once, sendEncodings: [{ maxBitrate: welcome.screen_kbit * 1000 }] });
    const slots = [];
    for (let at = 0; at < welcome.audio_slots; at++) slots.push(pc.addTransceiver("audio", { direction: "recvonly" }));
    for (let at = 0; at < welcome.video_slots; at++) slots.push(pc.addTransceiver("video", { direction: "recvonly" }));
    this.pictures = slots.slice(welcome.audio_slots).map((slot) => slot.receiver.track.id);
    for (const one of pc.getTransceivers()) prefer(one);
    slots.forEach((slot, at) => {
      const audio = at < welcome.audio_slots;
      const detail = { audio, index: audio ? at : at - welcome.audio_slots, track: slot.receiver.track };
      this.dispatchEvent(new CustomEvent("track", { detail }));
    });
    await pc.setLocalDescription(await pc.createOffer());
    this.say({ t: "offer", sdp: pc.localDescription.sdp, screen: this.screen.mid ?? "" });
  }

  async answered(sdp) {
    await this.pc.setRemoteDescription({ type: "answer", sdp });
    await this.layer(); // Chromium takes an answer's layers as switched on
  }

  changed(pc) {
    if (pc !== this.pc) return;
    if (pc.connectionState === "connected") this.opened();
    if (pc.connectionState === "failed") this.lost(this.socket);
    if (pc.connectionState === "disconnected") this.timer = setTimeout(() => this.lost(this.socket), 2500);
  }

  opened() {
    clearTimeout(this.timer);
    this.tries = 0;
    this.lostAt = 0;
    this.blocked = false;
    this.set("open");
    clearInterval(this.counting);
    this.counting = setInterval(() => this.count(), 5000);
  }

  lost(socket) {
    if (socket !== this.socket || this.state === "ended") return;
    clearTimeout(this.timer);
    this.drop();
    this.lostAt ||= Date.now();
    this.set("lost");
    const wait = RETRIES[Math.min(this.tries++, RETRIES.length - 1)];
    this.timer = setTimeout(() => this.connect(), wait);
  }

  async refused(told) {
    if (told.reason === "expired" && this.entry.renew) {
      this.entry.ticket = (await this.entry.renew()) ?? this.entry.ticket;
      this.entry.renew = null;
      return this.lost(this.socket);
    }
    if (AGAIN.has(told.reason) && this.seat) return this.lost(this.socket);
    return this.end(told);
  }

  drop() {
    const { socket, pc } = this;
    this.socket = this.pc = null;
    if (socket) {
      socket.onclose = socket.onmessage = null;
      socket.close();
    }
    pc?.close();
    clearInterval(this.counting);
  }

  end(told) {
    this.refusal = told;
    clearTimeout(this.timer);
    this.say({ t: "leave" });
    this.drop();
    this.set("ended");
  }

  set(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  say(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  // --- what the person does -----------------------------------------------------------------------------------------

  tellState() {
    if (this.tracks.audio) this.tracks.audio.enabled = this.wanted.mic;
    this.say({
      t: "state",
      mic: this.wanted.mic && Boolean(this.tracks.audio),
      camera: this.wanted.camera && Boolean(this.tracks.video),
      screen: Boolean(this.tracks.screen),
    });
  }

  async replace(kind, track) {
    const former = this.tracks[kind];
    this.tracks[kind] = track;
    const sender = { audio: this.voice, video: this.camera, screen: this.screen }[kind]?.sender;
    await sender?.replaceTrack(track).catch(() => this.lost(this.socket));
    if (kind === "video" && track) await this.layer().catch(() => this.lost(this.socket));
    if (former && former !== track) former.stop();
    this.tellState();
  }

  async layer() {
    const wanted = this.camera.sender.getParameters();
    if (wanted.encodings.length < 3) return; // a browser that gave the rest up
    for (const one of wanted.encodings) one.active = one.rid === "h" || !few(this.tracks.video);
    await this.camera.sender.setParameters(wanted);
  }

  view(heights) {
    if (heights.join() === this.heights.join()) return;
    this.heights = heights;
    this.say({ t: "view", heights });
  }

  async count() {
    if (!this.pc) return;
    const sums = { t: "stats", rtt_ms: 0, freezes: 0, frames: 0, lost: 0, by_slot: this.pictures.map(() => 0) };
    for (const report of (await this.pc.getStats()).values()) {
      if (report.type === "inbound-rtp") {
        sums.freezes += report.freezeCount ?? 0;
        sums.frames += report.framesDecoded ?? 0;
        sums.lost += Math.max(0, report.packetsLost ?? 0);
        const slot = this.pictures.indexOf(report.trackIdentifier);
        if (slot >= 0) sums.by_slot[slot] = report.freezeCount ?? 0;
      }
      if (report.type === "candidate-pair" && report.nominated) sums.rtt_ms = Math.round(1000 * (report.currentRoundTripTime ?? 0));
    }
    this.say(sums);
  }
}

// Three layers, offered whatever the camera is, since another one may be switched on later; the box picks one per viewer.
// A camera of few lines has nothing to give to the lower ones: it sends one. No layers in time: a browser gives up the
// frames of an upper one where a packet comes a second time, and nine of a hundred are gone on a poor line.
function encodings(track, welcome) {
  const top = welcome.max_kbit * 1000;
  const active = !few(track);
  const scalabilityMode = "L1T1";
  return [
    { rid: "l", active, scalabilityMode, scaleResolutionDownBy: 4, maxBitrate: Math.round(top / 10) },
    { rid: "m", active, scalabilityMode, scaleResolutionDownBy: 2, maxBitrate: Math.round(top / 3) },
    { rid: "h", scalabilityMode, maxBitrate: Math.round(top * 0.6) },
  ];
}

const few = (track) => (track?.getSettings().height ?? 0) < FEW_LINES;

// Only codecs that the box forwards: the description stays small.
function prefer(transceiver) {
  const kind = transceiver.receiver.track.kind;
  const known = kind === "audio" ? /opus$/i : /(vp8|h264|rtx)$/i;
  const able = RTCRtpReceiver.getCapabilities(kind)?.codecs.filter((codec) => known.test(codec.mimeType));
  if (able?.length && transceiver.setCodecPreferences) transceiver.setCodecPreferences(able);
}
