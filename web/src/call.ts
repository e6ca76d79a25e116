// One call, from either side: from the offer to the last event. States only move forward.

import { negotiate } from "./negotiation.ts";
import { audioOf, calledPeer, callingPeer, checkBrowser, openMicrophone, receives, statisticsReader, talks, type Statistics } from "./peer.ts";
import type { Ring } from "./phone.ts";
import { openSpeaker, type Box, type Dialect, type Letter, type Post } from "./post.ts";
import { keepUp } from "./recovery.ts";
import { ANSWER, CANDIDATE, END, OFFER, open, sessionOf, unixSeconds, type EndWord, type Session } from "./signals.ts";
import type { Target } from "./target.ts";
import { Trouble, sentence, troubleOf } from "./trouble.ts";
import { connectionLost, endWords, iceFailed, noAnswer, refusal } from "./words.ts";

export type CallState = "calling" | "connecting" | "live" | "ended";

export interface CallReport {
  state(state: CallState): void;
  /** What the person should know while the call goes on; undefined when all is well again. */
  notice(words: string | undefined): void;
  statistics(statistics: Statistics): void;
  /** Whether the line takes the voice, once that is known. */
  voice(taken: boolean): void;
  /** How the other side was heard to speak. */
  dialect(dialect: Dialect): void;
  /** A new offer went out to bring the connection back. */
  restarted(): void;
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
// A line that knows wraps has answered by then, or its camera is slow: then the plain offer does no harm.
const FALLBACK_MS = 4000;
// An answer that reached nobody is said again, signed anew: a relay's OK is no delivery.
const ANSWER_AGAIN_MS = [2000, 2000, 2000];
// A refusal says why in a `call_end` that follows it.
const DETAIL_WAIT_MS = 1500;
// ICE over TURN on a slow phone network takes up to 15 s.
const CONNECT_WAIT_MS = 30_000;
const STATISTICS_EVERY_MS = 1000;
// Readings without a new picture before it is said that the picture stands.
const STALLED_READINGS = 4;
// How long relays are kept open for the last event to go out.
const GOODBYE_MS = 2000;
const MAX_CANDIDATES = 64;

/** Calls the line. To be called within a click: the browser then lets `video` play with sound. */
export function placeCall(target: Target, post: Post, video: HTMLVideoElement, options: CallOptions, report: CallReport): Call {
  const { signer } = post;
  const session = { id: sessionId(), peer: target.pubkey, signer, cipher: signer.cipher };
  const voice = target.talk === true || options.microphone !== undefined;
  return openCall({ session, relays: target.relays, ring: undefined, pc: () => callingPeer(options.iceServers, voice) }, post, video, options, report);
}

/** Answers what rings. To be called within a click, as `placeCall`. */
export function takeCall(ring: Ring, post: Post, video: HTMLVideoElement, options: CallOptions, report: CallReport): Call {
  const iceServers = [...options.iceServers, ...ring.iceServers];
  return openCall({ session: ring.session, relays: ring.relays, ring, pc: () => calledPeer(iceServers) }, post, video, options, report);
}

interface Setup {
  session: Session;
  relays: string[];
  /** What is answered; undefined when this side calls. */
  ring: Ring | undefined;
  pc(): RTCPeerConnection;
}

function openCall({ session, relays, ring, pc: connection }: Setup, post: Post, video: HTMLVideoElement, options: CallOptions, report: CallReport): Call {
  checkBrowser();
  const stream = new MediaStream();
  video.srcObject = stream;
  // Started now, while the click counts; tracks come later. Without tracks it just waits.
  video.play().catch(() => {});

  let state: CallState | undefined;
  /** Whether the other side may know of the call. */
  let spoken = false;
  let answered = false;
  let refused: Trouble | undefined;
  let microphone = options.microphone;
  let candidatesTaken = 0;
  const timers = new Set<ReturnType<typeof setTimeout>>();

  const pc = connection();
  const box: Box = post.join(relays, (letter) => void hear(letter).catch((thrown: unknown) => finish(troubleOf(thrown), "user_left")));
  const speaker = openSpeaker(session, box, ring?.dialect);
  const lateCandidates = pacedSender(CANDIDATE_PAUSE_MS, async (candidate: RTCIceCandidate) => {
    if (hasEnded()) return;
    const { sdpMid, sdpMLineIndex } = candidate;
    await speaker.say(CANDIDATE, { candidate: candidate.candidate, sdpMid: sdpMid ?? "", sdpMLineIndex: sdpMLineIndex ?? 0 });
  });
  // When both sides offer at once, it is the caller's offer that counts.
  const negotiation = negotiate(pc, ring !== undefined, lateCandidates);
  const recovery = keepUp(pc, {
    live: () => state === "live",
    restart,
    lost: () => report.notice("Connection lost, trying again."),
    back: () => report.notice(undefined),
    gaveUp: () => finish(connectionLost(), "user_left"),
  });

  // `state` changes while an await is pending, which the compiler's narrowing does not see.
  function hasEnded(): boolean {
    return state === "ended";
  }

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

  /** Ends the call once: frees everything, and tells the other side unless it was the other side that ended it. */
  function finish(trouble: Trouble | undefined, tell: EndWord | undefined): void {
    if (hasEnded()) return;
    state = "ended";
    for (const timer of timers) clearTimeout(timer);
    clearInterval(reading);
    recovery.stop();
    microphone?.stop();
    const goodbye = tell !== undefined && spoken ? speaker.say(END, { reason: tell }) : Promise.resolve();
    pc.close();
    video.srcObject = null;
    // The call is over for the person; the last event may take a moment more, or be lost: the closed connection says it too.
    void Promise.race([goodbye, new Promise((resolve) => setTimeout(resolve, GOODBYE_MS))])
      .catch(() => {})
      .then(() => box.leave());
    report.state("ended");
    report.ended(trouble);
  }

  async function offer(): Promise<void> {
    const sdp = await negotiation.offer();
    if (hasEnded()) return;
    await giveMicrophone();
    const servers = options.iceServers.length > 0 ? { rtc_servers: options.iceServers } : {};
    spoken = true;
    await speaker.say(OFFER, { sdp, expires_in: Math.ceil(options.wait), ...servers });
    // It was taken by a relay: that a second one in another dialect is not, ends nothing.
    after(FALLBACK_MS, () => void speaker.fallBack().catch(() => {}));
    after(options.wait * 1000, () => {
      if (!answered) finish(noAnswer(session.signer.source, post.unopened()), "timeout");
    });
  }

  async function answer(ring: Ring): Promise<void> {
    after(CONNECT_WAIT_MS, () => {
      if (state === "connecting" && pc.connectionState !== "connected") finish(iceFailed(), "timeout");
    });
    const description = negotiation.answer(ring.sdp, () => {
      const audio = audioOf(pc);
      // Also without a microphone: the person may turn one on later.
      if (audio !== undefined) audio.direction = "sendrecv";
    });
    for (const candidate of ring.candidates) await negotiation.candidate(candidate);
    const sdp = await description.catch((thrown: unknown) => {
      throw new Trouble("bad-answer", "The call can't be answered", `The browser says: ${sentence(troubleOf(thrown).words)}`);
    });
    if (hasEnded() || sdp === undefined) return;
    report.voice(talks(pc));
    await giveMicrophone();
    spoken = true;
    await sayAnswer(sdp);
    sayAgain(sdp, ANSWER_AGAIN_MS);
  }

  async function sayAnswer(sdp: string): Promise<void> {
    await speaker.say(ANSWER, { sdp, accepted: true, ...(ring === undefined ? {} : { device: ring.device }) });
  }

  function sayAgain(sdp: string, [pause, ...pauses]: number[]): void {
    if (pause === undefined) return;
    after(pause, () => {
      if (pc.connectionState === "connected" || state !== "connecting") return;
      void sayAnswer(sdp).catch(() => {});
      sayAgain(sdp, pauses);
    });
  }

  /** A new offer in the session that is live. */
  async function restart(fresh: boolean): Promise<void> {
    box.renew();
    const sdp = (fresh ? undefined : negotiation.unanswered()) ?? (await negotiation.restart());
    if (hasEnded()) return;
    report.restarted();
    await speaker.say(OFFER, { sdp, expires_in: Math.ceil(options.wait) });
  }

  async function giveMicrophone(): Promise<void> {
    if (microphone !== undefined) await audioOf(pc)?.sender.replaceTrack(microphone);
  }

  async function hear({ event, dialect }: Letter): Promise<void> {
    const from = sessionOf(session.signer, event);
    if (hasEnded() || from?.id !== session.id || from.peer !== session.peer) return;
    const signal = await open(session.signer, event);
    if (signal === undefined || hasEnded()) return;
    speaker.heard(dialect);
    report.dialect(dialect);
    switch (signal.kind) {
      case OFFER:
        if ((state === "live" || (ring !== undefined && state === "connecting")) && signal.until >= unixSeconds()) await renegotiate(signal.sdp);
        break;
      case ANSWER:
        if (ring === undefined && !answered) {
          answered = true;
          if (signal.accepted) await begin(signal.sdp);
          else {
            refused = refusal(session.signer.source);
            after(DETAIL_WAIT_MS, () => finish(refused, undefined));
          }
        } else if (!signal.accepted) negotiation.refused();
        else if (answered || ring !== undefined) await negotiation.take(signal.sdp).catch(() => {});
        break;
      case CANDIDATE:
        if (candidatesTaken++ < MAX_CANDIDATES) await negotiation.candidate(signal.candidate);
        break;
      case END:
        if (ring === undefined || signal.except !== ring.device) finish(endWords(refused === undefined ? signal : { ...signal, reason: "rejected" }, state === "calling"), undefined);
        break;
    }
  }

  /** The other side's new offer in the same session. */
  async function renegotiate(sdp: string): Promise<void> {
    // One that the browser can't take changes nothing.
    const answer = await negotiation.answer(sdp).catch(() => undefined);
    if (answer !== undefined && !hasEnded()) await sayAnswer(answer).catch(() => {});
  }

  /** Takes the first answer. */
  async function begin(sdp: string): Promise<void> {
    enter("connecting");
    after(CONNECT_WAIT_MS, () => {
      if (state === "connecting" && pc.connectionState !== "connected") finish(iceFailed(), "timeout");
    });
    try {
      await negotiation.take(sdp);
    } catch (thrown) {
      finish(new Trouble("bad-answer", "The line's answer can't be used", `The browser says: ${sentence(troubleOf(thrown).words)}`), "rejected");
      return;
    }
    report.voice(talks(pc));
  }

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
    if (pc.connectionState === "connected" && !receives(pc, "video")) goLive();
    if (pc.connectionState === "failed" && state === "connecting") finish(iceFailed(), "user_left");
    // The other side has closed the connection: its `call_end` may be lost.
    if (pc.getReceivers().some(({ transport }) => transport?.state === "closed")) finish(endWords({ reason: "user_left", cause: "", detail: "" }, false), undefined);
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
      if (!receives(pc, "video") || recovery.lost()) return;
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

  enter(ring === undefined ? "calling" : "connecting");
  (ring === undefined ? offer() : answer(ring)).catch((thrown: unknown) => finish(troubleOf(thrown), "user_left"));

  return {
    session: session.id,
    hangUp: () => finish(undefined, "user_left"),
    async setMicrophone(on) {
      if (!on) {
        microphone?.stop();
        microphone = undefined;
        await audioOf(pc)?.sender.replaceTrack(null);
        return;
      }
      const track = await openMicrophone();
      if (hasEnded()) {
        track.stop();
        return;
      }
      microphone = track;
      await giveMicrophone();
    },
  };
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
