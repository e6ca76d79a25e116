// The page as a phone: offers that come for this key ring, when their sender may ring.

import type { Event } from "nostr-tools/pure";
import { openSpeaker, type Box, type Dialect, type Letter, type Post } from "./post.ts";
import { memory } from "./relays.ts";
import { ANSWER, CANDIDATE, END, OFFER, open, sessionOf, unixSeconds, type Session } from "./signals.ts";
import { readRelays } from "./target.ts";
import { stoppedWords } from "./words.ts";

/** A call that rings. */
export interface Ring {
  session: Session;
  sdp: string;
  /** What the caller calls itself, made fit to be shown; it may be a lie. */
  name: string | undefined;
  iceServers: RTCIceServer[];
  /** Those that came after the offer. */
  candidates: RTCIceCandidateInit[];
  dialect: Dialect;
  /** Where to answer. */
  relays: string[];
  /** What this device calls itself in the session. */
  device: string;
}

export interface PhoneRules {
  mayRing(pubkey: string): boolean;
  /** Whether this session is, or was, a call of this page. */
  ours(session: string): boolean;
  /** Whether the person is in a call. */
  busy(): boolean;
  /** How a caller is called in words. */
  nameOf(ring: Ring): string;
}

export interface PhoneReport {
  ringing(ring: Ring): void;
  /** It rings no more, for the reason in these words. */
  stopped(words: string | undefined): void;
}

export interface Phone {
  /** What rings, to be answered: it rings no more. */
  answer(): Ring | undefined;
  refuse(): void;
  profileName(pubkey: string): Promise<string | undefined>;
  /** Whether a relay could bring a call now. */
  reachable(): boolean;
  hangUp(): void;
}

// No offer rings for longer, whatever it says.
const MAX_RINGING_SECONDS = 120;
const MAX_NAME = 64;
const MAX_CANDIDATES = 64;
// An offer's own relays: some, not any number.
const MAX_RELAYS = 2;

/** Waits for calls on these relays until it is hung up. */
export function openPhone(post: Post, relays: string[], rules: PhoneRules, report: PhoneReport): Phone {
  const box: Box = post.join(relays, (letter) => void hear(letter).catch(() => {}));
  // Sessions that rang or ended: an event of theirs that comes late, or once more, rings nothing.
  const over = memory();
  let current: Ring | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const place = (session: Session): string => `${session.peer} ${session.id}`;

  async function hear({ event, dialect }: Letter): Promise<void> {
    const session = sessionOf(post.signer, event);
    if (session === undefined || rules.ours(session.id) || !rules.mayRing(event.pubkey)) return;
    const rings = current !== undefined && place(current.session) === place(session) ? current : undefined;
    if (event.kind !== OFFER && event.kind !== END && rings === undefined) return;
    const signal = await open(post.signer, event);
    if (signal?.kind === CANDIDATE) {
      if (rings !== undefined && rings.candidates.length < MAX_CANDIDATES) rings.candidates.push(signal.candidate);
    } else if (signal?.kind === END) {
      over.add(place(session));
      if (rings !== undefined && rings === current && signal.except !== rings.device) stop(stoppedWords(rules.nameOf(rings), signal));
    } else if (signal?.kind === OFFER) {
      const left = Math.min(signal.until - unixSeconds(), MAX_RINGING_SECONDS);
      if (left <= 0 || !over.add(place(session))) return;
      const ring: Ring = {
        session,
        sdp: signal.sdp,
        name: displayName(signal.name),
        iceServers: signal.iceServers,
        candidates: [],
        dialect,
        relays: [...new Set([...relays, ...relayHints(event)])],
        device: token(),
      };
      if (current !== undefined || rules.busy()) return say(ring, "busy");
      current = ring;
      timer = setTimeout(() => stop(stoppedWords(rules.nameOf(ring), { reason: "timeout", cause: "", except: "" })), left * 1000);
      report.ringing(ring);
    }
  }

  function stop(words: string): void {
    clear();
    report.stopped(words);
  }

  function clear(): Ring | undefined {
    const was = current;
    current = undefined;
    clearTimeout(timer);
    return was;
  }

  /** Refuses the call. The caller may have gone meanwhile: that it is not heard does no harm. */
  async function say(ring: Ring, cause: "busy" | "declined"): Promise<void> {
    const way = post.join(ring.relays, () => {});
    const speaker = openSpeaker(ring.session, way, ring.dialect);
    try {
      await speaker.say(ANSWER, { sdp: "", accepted: false, device: ring.device });
      await speaker.say(END, { reason: "rejected", cause });
    } finally {
      way.leave();
    }
  }

  return {
    answer: clear,
    refuse() {
      const ring = clear();
      if (ring !== undefined) void say(ring, "declined").catch(() => {});
    },
    profileName: async (pubkey) => displayName((await box.profileName(pubkey)) ?? ""),
    reachable: () => box.reachable(),
    hangUp() {
      if (clear() !== undefined) report.stopped(undefined);
      box.leave();
    },
  };
}

/** A name of somebody else's, without what could hide or rearrange what is shown; undefined when nothing is left. */
export function displayName(text: string): string | undefined {
  const shown = [...text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, " ").replace(/\s+/g, " ").trim()].slice(0, MAX_NAME).join("");
  return shown === "" ? undefined : shown;
}

/** The relays that an offer asks to be answered through, in the form that all addresses have here. */
function relayHints(event: Event): string[] {
  const hints = event.tags.filter(([name]) => name === "relay").slice(0, MAX_RELAYS);
  return hints.flatMap(([, url]) => {
    try {
      return readRelays([url ?? ""]);
    } catch {
      return [];
    }
  });
}

/** Random, and of no meaning. */
function token(): string {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
