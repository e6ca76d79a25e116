// Events of kinds 14300-14303: sealing ours, opening theirs.

import type { Event } from "nostr-tools/pure";
import { keep, recall, type Cipher, type Signer } from "./identity.ts";
import { Trouble } from "./trouble.ts";

export const OFFER = 14300;
export const ANSWER = 14301;
export const CANDIDATE = 14302;
export const END = 14303;
export const KINDS = [OFFER, ANSWER, CANDIDATE, END];

/** A call's first words, or a new negotiation in a session that is live. */
export interface Offer {
  kind: typeof OFFER;
  sdp: string;
  /** What the caller calls itself; not to be trusted. */
  name: string;
  iceServers: RTCIceServer[];
  /** When it stops ringing, unix s. */
  until: number;
}

export interface End {
  kind: typeof END;
  reason: string;
  cause: string;
  detail: string;
  /** The device that goes on, when the call ends for all others. */
  except: string;
}

export type Signal =
  | Offer
  | { kind: typeof ANSWER; sdp: string; accepted: boolean }
  | { kind: typeof CANDIDATE; candidate: RTCIceCandidateInit }
  | End;

export type EndWord = "user_left" | "rejected" | "timeout";

/** One call's address: between whom, in which session, sealed how. */
export interface Session {
  id: string;
  /** The other side's key, hex. */
  peer: string;
  signer: Signer;
  cipher: Cipher;
}

// Seconds that a relay keeps an event of ours (NIP-40): longer than a call takes to set up, short enough to leave nothing behind.
export const KEPT_SECONDS = 120;
// Relays refuse events too far in the future, and an offer from further ahead is no offer.
const MAX_AHEAD_SECONDS = 60;
// How long an offer rings that does not say it.
const RINGS_SECONDS = 60;
const MAX_SERVERS = 16;

export const unixSeconds = (): number => Math.floor(Date.now() / 1000);

/**
 * A `created_at` that is newer than that of the last event of this author and kind. The kinds are replaceable: of two events
 * of one second a relay keeps one, so a redial at once would be dropped.
 */
function nextCreatedAt(author: string, kind: number): number {
  const name = `callgate.clock.${author.slice(0, 16)}.${kind}`;
  const now = unixSeconds();
  const last = Number(recall(name) ?? 0);
  const next = last >= now && last < now + MAX_AHEAD_SECONDS ? last + 1 : now;
  keep(name, String(next));
  return next;
}

/** Seals and signs an event of the session. */
export async function seal(session: Session, kind: number, payload: Record<string, unknown>): Promise<Event> {
  const { signer, cipher, peer } = session;
  const content = await signer.encrypt(cipher, peer, JSON.stringify({ ...payload, timestamp: unixSeconds() }));
  const created_at = nextCreatedAt(signer.pubkey, kind);
  return signer.sign({
    kind,
    created_at,
    content,
    tags: [
      ["p", peer],
      ["session_id", session.id],
      ["type", "video"],
      ["sig_alg", cipher],
      ["expiration", String(created_at + KEPT_SECONDS)],
    ],
  });
}

export const tag = (event: Event, name: string): string | undefined => event.tags.find((entry) => entry[0] === name)?.[1];

/** The session that a verified event would begin or speak for, by its outside; undefined when it names none. */
export function sessionOf(signer: Signer, event: Event): Session | undefined {
  const id = tag(event, "session_id") ?? "";
  if (!/^[\x21-\x7e]{1,128}$/.test(id)) return undefined;
  return { id, peer: event.pubkey, signer, cipher: cipherOf(event) };
}

function cipherOf(event: Event): Cipher {
  return tag(event, "sig_alg") === "NIP-04" ? "NIP-04" : "NIP-44";
}

/** Opens a verified event; undefined when it cannot be read. Unknown fields are ignored, numbers may be strings. */
export async function open(signer: Signer, event: Event): Promise<Signal | undefined> {
  let payload: Record<string, unknown>;
  try {
    const parsed: unknown = JSON.parse(await signer.decrypt(cipherOf(event), event.pubkey, event.content));
    if (typeof parsed !== "object" || parsed === null) return undefined;
    payload = parsed as Record<string, unknown>;
  } catch (thrown) {
    // The person, or the key extension, said no: worth a word. Anything else is not for us.
    if (thrown instanceof Trouble) throw thrown;
    return undefined;
  }
  const text = (name: string): string => (typeof payload[name] === "string" ? payload[name] : "");
  switch (event.kind) {
    case OFFER: {
      const timestamp = Number(payload["timestamp"] ?? NaN);
      const rings = Number(payload["expires_in"] ?? RINGS_SECONDS);
      if (!Number.isFinite(timestamp) || !Number.isFinite(rings)) return undefined;
      if (Math.max(timestamp, event.created_at) > unixSeconds() + MAX_AHEAD_SECONDS) return undefined;
      return { kind: OFFER, sdp: text("sdp"), name: text("name"), iceServers: readServers(payload["rtc_servers"]), until: timestamp + rings };
    }
    case ANSWER:
      return { kind: ANSWER, sdp: text("sdp"), accepted: payload["accepted"] !== false };
    case CANDIDATE: {
      const index = Number(payload["sdpMLineIndex"] ?? NaN);
      const mid = text("sdpMid");
      const candidate: RTCIceCandidateInit = { candidate: text("candidate") };
      if (mid !== "") candidate.sdpMid = mid;
      if (Number.isInteger(index)) candidate.sdpMLineIndex = index;
      return { kind: CANDIDATE, candidate };
    }
    case END:
      return { kind: END, reason: text("reason"), cause: text("cause"), detail: text("detail"), except: text("except") };
    default:
      return undefined;
  }
}

/** The STUN and TURN servers of an offer that a browser would take: one that it can't read would fail the whole call. */
function readServers(value: unknown): RTCIceServer[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, MAX_SERVERS).flatMap((server: unknown) => {
    if (typeof server !== "object" || server === null) return [];
    const { urls, username, credential } = server as Record<string, unknown>;
    const all = (Array.isArray(urls) ? urls.slice(0, MAX_SERVERS) : [urls]).filter((url) => typeof url === "string");
    const stun = all.filter((url) => /^stuns?:[^\s?]+$/i.test(url));
    const turn = all.filter((url) => /^turns?:[^\s?]+(\?transport=(udp|tcp))?$/i.test(url));
    const found: RTCIceServer[] = stun.length > 0 ? [{ urls: stun }] : [];
    if (turn.length > 0 && typeof username === "string" && typeof credential === "string") found.push({ urls: turn, username, credential });
    return found;
  });
}
