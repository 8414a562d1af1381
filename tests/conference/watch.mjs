// A WHEP player by werift (npm), another stack than the box's and than the browsers'. Arguments: url, ticket, seconds.
// It offers to receive one voice and one picture, and counts what comes.
import { RTCPeerConnection } from "werift";

const [url, ticket, seconds] = process.argv.slice(2);
const pc = new RTCPeerConnection({ iceServers: [] });
const counts = { audio: 0, video: 0 };
for (const kind of Object.keys(counts)) {
  const line = pc.addTransceiver(kind, { direction: "recvonly" });
  line.onTrack.subscribe((track) => track.onReceiveRtp.subscribe(() => { counts[kind] += 1; }));
}
await pc.setLocalDescription(await pc.createOffer());
if (pc.iceGatheringState !== "complete")
  await new Promise((done) => pc.iceGatheringStateChange.subscribe((state) => state === "complete" && done()));
const headers = { "Content-Type": "application/sdp", Authorization: `Bearer ${ticket}` };
const answer = await fetch(url, { method: "POST", body: pc.localDescription.sdp, headers });
if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
const end = Date.now() + seconds * 1000;
while (Date.now() < end && Math.min(counts.audio, counts.video) < 50) await new Promise((done) => setTimeout(done, 100));
console.log(JSON.stringify({ ...counts, state: pc.connectionState }));
process.exit(0);
