// One call: from the offer to the last event. States only move forward.

import type { Event } from "nostr-tools/pure";
import type { Signer } from "./identity.ts";
import { checkBrowser, openMicrophone, openPeer, statisticsReader, type Statistics } from "./peer.ts";
import { openRelays } from "./relays.ts";
import { ANSWER, CANDIDATE, END, OFFER, belongs, open, seal, type EndWord, type Session } from "./signals.ts";
import type { Target } from "./target.ts";
import { Trouble, sentence, troubleOf } from "./trouble.ts";

export type CallState = "calling" | "connecting" | "live" | "ended";

export interface CallReport {
  state(state: CallState): void;
  /** What the person should know while the call goes on; undefined when all is well again. */
  notice(words: string | undefined): void;
  statistics(statistics: Statistics): void;
  /** Whether the line takes the voice, once that is known. */
  voice(taken: boolean): void;
  /** The browser plays no sound until the person presses something. */
  soundBlocked(): void;
  /** The call is over; without trouble when this side hung up. */
  ended(trouble: Trouble | undefined): void;
}

export interface CallOptions {
  iceServers: RTCIceServer[];
  /** Seconds to wait for an answer. */
  wait: number;
  /** A microphone that is on already. */
  microphone: MediaStreamTrack | undefined;
}

export interface Call {
  readonly session: string;
  hangUp(): void;
  /** Turns the microphone on or off; rejects with a `Trouble` when there is none. */
  setMicrophone(on: boolean): Promise<void>;
}

// A relay drops one of two candidate events that reach it close together.
const CANDIDATE_PAUSE_MS = 200;
// A refusal says why in a `call_end` that follows it.
const DETAIL_WAIT_MS = 1500;
// ICE over TURN on a slow phone network takes up to 15 s.
const CONNECT_WAIT_MS = 30_000;
const STATISTICS_EVERY_MS = 1000;
// Readings without a new picture before it is said that the picture stands.
const STALLED_READINGS = 4;
// How long relays are kept open for the last event to go out.
const GOODBYE_MS = 2000;
const MAX_CONTENT = 64 * 1024;
const MAX_CANDIDATES = 64;

/** Calls the line. To be called within a click: the browser then lets `video` play with sound. */
export function placeCall(target: Target, signer: Signer, video: HTMLVideoElement, options: CallOptions, report: CallReport): Call {
  checkBrowser();
  const session: Session = { id: sessionId(), line: target.pubkey, signer };
  const stream = new MediaStream();
  video.srcObject = stream;
  // Started now, while the click counts; tracks come later. Without tracks it just waits.
  video.play().catch(() => {});

  let state: CallState | undefined;
  let offered = false;
  let answered = false;
  let microphone = options.microphone;
  const timers = new Set<ReturnType<typeof setTimeout>>();
  const remoteCandidates: RTCIceCandidateInit[] = [];
  let candidatesTaken = 0;
  let refusal: Trouble | undefined;

  const voice = target.talk === true || microphone !== undefined;
  const lateCandidates = pacedSender(CANDIDATE_PAUSE_MS, async (candidate: RTCIceCandidate) => {
    if (state === "ended") return;
    const { sdpMid, sdpMLineIndex } = candidate;
    await relays.publish(await seal(session, CANDIDATE, { candidate: candidate.candidate, sdpMid: sdpMid ?? "", sdpMLineIndex: sdpMLineIndex ?? 0 }));
  });
  const peer = openPeer(options.iceServers, voice, lateCandidates);
  const { pc } = peer;
  const relays = openRelays(
    target.relays,
    signer,
    { kinds: [ANSWER, CANDIDATE, END], authors: [target.pubkey], "#p": [signer.pubkey] },
    (event) => void hear(event).catch((thrown: unknown) => finish(troubleOf(thrown), "user_left")),
  );

  function enter(next: CallState): void {
    state = next;
    report.state(next);
  }

  function after(ms: number, act: () => void): ReturnType<typeof setTimeout> {
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
    return timer;
  }

  /** Ends the call once: frees everything, and tells the line unless it was the line that ended it. */
  function finish(trouble: Trouble | undefined, tell: EndWord | undefined): void {
    if (state === "ended") return;
    state = "ended";
    for (const timer of timers) clearTimeout(timer);
    clearInterval(reading);
    microphone?.stop();
    const goodbye =
      tell !== undefined && offered
        ? seal(session, END, { reason: tell }).then((event) => relays.publish(event))
        : Promise.resolve();
    pc.close();
    video.srcObject = null;
    // The call is over for the person; the last event may take a moment more, or be lost: the closed connection says it too.
    void Promise.race([goodbye, new Promise((resolve) => setTimeout(resolve, GOODBYE_MS))])
      .catch(() => {})
      .then(() => relays.close());
    report.state("ended");
    report.ended(trouble);
  }

  async function begin(): Promise<void> {
    const sdp = await peer.offer;
    if (state === "ended") return;
    if (voice && microphone !== undefined) await peer.audio.sender.replaceTrack(microphone);
    const servers = options.iceServers.length > 0 ? { rtc_servers: options.iceServers } : {};
    const event = await seal(session, OFFER, { sdp, expires_in: Math.ceil(options.wait), ...servers });
    if (hasEnded()) return;
    offered = true;
    await relays.publish(event);
    after(options.wait * 1000, () => {
      if (answered) return;
      finish(
        new Trouble("no-answer", "The line did not answer", "It may be off, or you may not be on its list: send its operator your npub. The relay took the call, so the relay works."),
        "timeout",
      );
    });
  }

  // `state` changes while an await is pending, which the compiler's narrowing does not see.
  const hasEnded = (): boolean => state === "ended";

  async function hear(event: Event): Promise<void> {
    // Relays' filters are not trusted: author, receiver and session are looked at here.
    if (hasEnded() || event.content.length > MAX_CONTENT || !belongs(session, event)) return;
    const signal = await open(session, event);
    if (signal === undefined || hasEnded()) return;
    if (signal.kind === ANSWER) {
      if (answered) return;
      answered = true;
      if (signal.accepted) await take(signal.sdp);
      else {
        refusal = new Trouble("refused", "The line refused the call", "It gave no reason.");
        after(DETAIL_WAIT_MS, () => finish(refusal, undefined));
      }
    } else if (signal.kind === CANDIDATE) {
      if (candidatesTaken++ >= MAX_CANDIDATES) return;
      if (pc.remoteDescription === null) remoteCandidates.push(signal.candidate);
      else await addCandidate(signal.candidate);
    } else {
      finish(endWords(refusal === undefined ? signal.reason : "rejected", signal.detail, state === "calling"), undefined);
    }
  }

  async function take(sdp: string): Promise<void> {
    enter("connecting");
    after(CONNECT_WAIT_MS, () => {
      if (state === "connecting" && pc.connectionState !== "connected") finish(iceFailed(), "timeout");
    });
    try {
      await pc.setRemoteDescription({ type: "answer", sdp });
    } catch (thrown) {
      finish(new Trouble("bad-answer", "The line's answer can't be used", `The browser says: ${sentence(troubleOf(thrown).words)}`), "rejected");
      return;
    }
    for (const candidate of remoteCandidates.splice(0)) await addCandidate(candidate);
    report.voice(peer.audio.currentDirection === "sendrecv" || peer.audio.currentDirection === "sendonly");
  }

  // A candidate that the browser can't read is the line's loss, not the call's end.
  const addCandidate = (candidate: RTCIceCandidateInit): Promise<void> => pc.addIceCandidate(candidate).catch(() => {});

  pc.addEventListener("track", ({ track }) => {
    stream.addTrack(track);
    video.play().catch((thrown: unknown) => {
      if (hasEnded() || !(thrown instanceof DOMException) || thrown.name !== "NotAllowedError") return;
      // The picture at least; the person can turn the sound on.
      video.muted = true;
      report.soundBlocked();
      video.play().catch(() => {});
    });
  });
  pc.addEventListener("connectionstatechange", () => {
    switch (pc.connectionState) {
      case "connected":
        report.notice(undefined);
        if (!receives(pc, "video")) goLive();
        break;
      case "disconnected":
        report.notice("The connection is shaky. Waiting for it to come back.");
        break;
      case "failed":
        finish(state === "live" ? new Trouble("connection-lost", "The connection was lost", "Nothing comes from the line any more. It may be off, or your network changed. Call again.") : iceFailed(), "user_left");
        break;
      case "closed":
        break;
    }
  });
  video.addEventListener("loadeddata", goLive, { once: true });

  function goLive(): void {
    if (state === "connecting" && pc.connectionState === "connected") enter("live");
  }

  const read = statisticsReader(pc);
  let lastFrames = 0;
  let stalled = 0;
  const reading = setInterval(() => {
    if (pc.connectionState !== "connected") return;
    void read().then((statistics) => {
      if (hasEnded()) return;
      report.statistics(statistics);
      if (statistics.framesDecoded > 0) goLive();
      if (!receives(pc, "video")) return;
      stalled = statistics.framesDecoded === lastFrames ? stalled + 1 : 0;
      lastFrames = statistics.framesDecoded;
      if (stalled === STALLED_READINGS) {
        report.notice(
          state === "live"
            ? "The picture stopped: the line may have lost its camera. It keeps trying; the call stays up."
            : "Connected, but no picture comes yet. The camera may be slow to start.",
        );
      } else if (stalled === 0) report.notice(undefined);
    });
  }, STATISTICS_EVERY_MS);

  enter("calling");
  begin().catch((thrown: unknown) => finish(troubleOf(thrown), "user_left"));

  return {
    session: session.id,
    hangUp: () => finish(undefined, "user_left"),
    async setMicrophone(on) {
      if (!on) {
        microphone?.stop();
        microphone = undefined;
        await peer.audio.sender.replaceTrack(null);
        return;
      }
      const track = await openMicrophone();
      if (hasEnded()) {
        track.stop();
        return;
      }
      microphone = track;
      await peer.audio.sender.replaceTrack(track);
    },
  };
}

/** Whether the answer lets the line send this. */
function receives(pc: RTCPeerConnection, kind: "video" | "audio"): boolean {
  return pc.getTransceivers().some((transceiver) => transceiver.receiver.track.kind === kind && /recv/.test(transceiver.currentDirection ?? ""));
}

function iceFailed(): Trouble {
  return new Trouble("ice-failed", "No way through to the line", "The line answered, but your network and its network let no media through. Try another network, or ask the operator for a TURN server.");
}

/** The line's `call_end` in words; `ringing` when there was no call yet. */
function endWords(reason: string, detail: string, ringing: boolean): Trouble {
  const said = sentence(detail);
  if (reason === "rejected") {
    return new Trouble("refused", ringing ? "The line refused the call" : "The line ended the call", said === "" ? "It gave no reason." : `It says: ${said}`);
  }
  if (reason === "timeout") {
    return new Trouble("line-ended", "The line gave up waiting", said === "" ? "The connection did not come up in time." : `It says: ${said}`);
  }
  return new Trouble("line-ended", "The line hung up", said === "" ? "Call again if you want to go on." : `It says: ${said}`);
}

/** One at a time, with a pause between. A failed one is left out: the others may do. */
function pacedSender<T>(pauseMs: number, send: (item: T) => Promise<void>): (item: T) => void {
  let last = Promise.resolve();
  return (item) => {
    last = last.then(() => send(item)).catch(() => {}).then(() => new Promise((resolve) => setTimeout(resolve, pauseMs)));
  };
}

/** A random UUID; `crypto.randomUUID` exists on https pages only. */
function sessionId(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
