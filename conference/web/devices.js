// Camera, microphone and speaker. Asked for separately, so that one missing device costs only itself.
// A failure is an object {what, again}: a text id, and whether trying again can help.

const remembered = (kind) => localStorage.getItem(`chosen.${kind}`) ?? "";

export const remember = (kind, id) => localStorage.setItem(`chosen.${kind}`, id);

export const secure = () => window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);

export async function list() {
  if (!secure()) return [];
  return (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.deviceId);
}

export function openCamera() {
  return open("camera", {
    video: { deviceId: { ideal: remembered("camera") }, width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 24, max: 30 } },
  });
}

export function openMicrophone() {
  return open("microphone", {
    audio: { deviceId: { ideal: remembered("microphone") }, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  });
}

async function open(kind, wanted) {
  if (!secure()) return { failure: { what: "device.insecure", again: false } };
  try {
    const stream = await navigator.mediaDevices.getUserMedia(wanted);
    return { track: stream.getTracks()[0] };
  } catch (error) {
    return { failure: await reason(kind, error) };
  }
}

async function reason(kind, error) {
  switch (error.name) {
    case "SecurityError":
      return { what: "device.forbidden", again: true };
    case "NotAllowedError":
      return { what: (await blocked(kind)) ? "device.blocked" : "device.dismissed", again: true };
    case "AbortError":
      return { what: `device.aborted_${kind}`, again: true };
    case "NotReadableError":
      return { what: `device.busy_${kind}`, again: true };
    case "OverconstrainedError":
      return { what: `device.unfit_${kind}`, again: true };
    case "NotFoundError":
      return { what: `device.no_${kind}`, again: true };
    default:
      return { what: "device.failed", again: true, values: { error: error.name } };
  }
}

async function blocked(kind) {
  try {
    return (await navigator.permissions.query({ name: kind })).state === "denied";
  } catch {
    return false; // browsers without this query: ask again
  }
}

// Loudness of a track, 0 to 1, every 100 ms. A copy is measured, so it works while the track itself is muted.
export function meter(track, onLevel) {
  const context = new AudioContext();
  const copy = track.clone();
  copy.enabled = true;
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  context.createMediaStreamSource(new MediaStream([copy])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    const decibel = 10 * Math.log10(power + 1e-12);
    onLevel(Math.max(0, Math.min(1, (decibel + 70) / 60)));
  }, 100);
  return () => {
    clearInterval(timer);
    copy.stop();
    context.close();
  };
}

// Two soft notes.
export async function chime(speaker) {
  const context = new AudioContext();
  if (speaker && context.setSinkId) await context.setSinkId(speaker).catch(() => {});
  for (const [at, pitch] of [[0, 660], [0.35, 880]]) {
    const note = new OscillatorNode(context, { frequency: pitch });
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(0.25, context.currentTime + at);
    gain.gain.exponentialRampToValueAtTime(0.001, context.currentTime + at + 0.6);
    note.connect(gain).connect(context.destination);
    note.start(context.currentTime + at);
    note.stop(context.currentTime + at + 0.7);
  }
  setTimeout(() => context.close(), 1500);
}
