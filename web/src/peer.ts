// The browser's side of the media: an RTCPeerConnection that offers to receive, and what is read from it.

import { Trouble } from "./trouble.ts";

export interface Statistics {
  /** Pictures a second, decoded. */
  fps: number;
  kbitPerSecond: number;
  width: number;
  height: number;
  framesDecoded: number;
  framesDropped: number;
  packetsLost: number;
  /** 0 to 1, as the receiver plays it. */
  audioLevel: number;
}

/** Throws when this browser can't do what a call needs. */
export function checkBrowser(): void {
  if (typeof RTCPeerConnection !== "function" || typeof RTCRtpReceiver !== "function") {
    throw new Trouble("no-webrtc", "This browser has no WebRTC", "It may be switched off by a setting or an extension. Try another browser.");
  }
  const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  if (!codecs.some((codec) => codec.mimeType.toLowerCase() === "video/h264")) {
    throw new Trouble("no-h264", "This browser can't play H.264", "The line's camera sends H.264. Try another browser: Chrome, Edge, Safari and Firefox play it.");
  }
}

const newConnection = (iceServers: RTCIceServer[]): RTCPeerConnection => new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });

/** A connection that will offer to receive video and audio, and to send the voice if `voice` says so. */
export function callingPeer(iceServers: RTCIceServer[], voice: boolean): RTCPeerConnection {
  const pc = newConnection(iceServers);
  preferH264(pc.addTransceiver("video", { direction: "recvonly" }));
  pc.addTransceiver("audio", { direction: voice ? "sendrecv" : "recvonly" });
  return pc;
}

/** A connection for somebody else's offer: it takes what is sent. */
export function calledPeer(iceServers: RTCIceServer[]): RTCPeerConnection {
  return newConnection(iceServers);
}

/** The transceiver that carries the voice, once there is one. */
export function audioOf(pc: RTCPeerConnection): RTCRtpTransceiver | undefined {
  return pc.getTransceivers().find(({ receiver }) => receiver.track.kind === "audio");
}

/** Whether the two sides agreed that the other one sends this. */
export function receives(pc: RTCPeerConnection, kind: "video" | "audio"): boolean {
  return pc.getTransceivers().some(({ receiver, currentDirection }) => receiver.track.kind === kind && /recv/.test(currentDirection ?? ""));
}

/** Whether the two sides agreed that this one may talk. */
export function talks(pc: RTCPeerConnection): boolean {
  return /send/.test(audioOf(pc)?.currentDirection ?? "");
}

/** H.264 first: the line passes the camera's own through. The rest stays, in the browser's order. */
function preferH264(video: RTCRtpTransceiver): void {
  const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  const isH264 = (codec: RTCRtpCodec): boolean => codec.mimeType.toLowerCase() === "video/h264";
  video.setCodecPreferences?.([...codecs.filter(isH264), ...codecs.filter((codec) => !isH264(codec))]);
}

/** Reads the connection's counters; rates are against the reading before. */
export function statisticsReader(pc: RTCPeerConnection): () => Promise<Statistics> {
  let lastBytes = 0;
  let lastFrames = 0;
  let lastAt = performance.now();
  return async () => {
    const now: Statistics = { fps: 0, kbitPerSecond: 0, width: 0, height: 0, framesDecoded: 0, framesDropped: 0, packetsLost: 0, audioLevel: 0 };
    let bytes = 0;
    for (const entry of (await pc.getStats()).values()) {
      if (entry.type !== "inbound-rtp") continue;
      bytes += entry.bytesReceived ?? 0;
      now.packetsLost += entry.packetsLost ?? 0;
      if (entry.kind === "video") {
        now.framesDecoded = entry.framesDecoded ?? 0;
        now.framesDropped = entry.framesDropped ?? 0;
        now.width = entry.frameWidth ?? 0;
        now.height = entry.frameHeight ?? 0;
      } else {
        now.audioLevel = entry.audioLevel ?? 0;
      }
    }
    const at = performance.now();
    const seconds = Math.max((at - lastAt) / 1000, 0.001);
    now.fps = Math.max(0, now.framesDecoded - lastFrames) / seconds;
    now.kbitPerSecond = (Math.max(0, bytes - lastBytes) * 8) / 1000 / seconds;
    lastBytes = bytes;
    lastFrames = now.framesDecoded;
    lastAt = at;
    return now;
  };
}

/** Asks for the microphone; says in words why there is none. */
export async function openMicrophone(): Promise<MediaStreamTrack> {
  if (navigator.mediaDevices?.getUserMedia === undefined) {
    throw new Trouble("microphone-insecure", "No microphone on this page", "Browsers give the microphone only to https pages and to localhost. Open this page over https to talk.");
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    const track = stream.getAudioTracks()[0];
    if (track !== undefined) return track;
  } catch (thrown) {
    const name = thrown instanceof DOMException ? thrown.name : "";
    if (name === "NotAllowedError" || name === "SecurityError") {
      throw new Trouble("microphone-refused", "The microphone is blocked", "Allow it for this page in the browser's address bar, then press the microphone again. You can watch and listen without it.");
    }
    if (name === "NotReadableError" || name === "AbortError") {
      throw new Trouble("microphone-missing", "The microphone is busy", "Another program may be using it.");
    }
  }
  throw new Trouble("microphone-missing", "No microphone found", "Connect one, then press the microphone again.");
}
