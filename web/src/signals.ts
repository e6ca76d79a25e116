// Events of kinds 14300-14303: sealing ours, opening theirs.

import type { Event } from "nostr-tools/pure";
import { keep, recall, type Cipher, type Signer } from "./identity.ts";
import { Trouble } from "./trouble.ts";

export const OFFER = 14300;
export const ANSWER = 14301;
export const CANDIDATE = 14302;
export const END = 14303;

export type EndWord = "user_left" | "rejected" | "timeout";

export type Signal =
  | { kind: typeof ANSWER; sdp: string; accepted: boolean }
  | { kind: typeof CANDIDATE; candidate: RTCIceCandidateInit }
  | { kind: typeof END; reason: string; detail: string };

/** One call's address: from whom, to whom, in which session. */
export interface Session {
  id: string;
  line: string;
  signer: Signer;
}

// Seconds that a relay keeps an event of ours (NIP-40): longer than a call takes to set up, short enough to leave nothing behind.
const KEPT_SECONDS = 120;
// Relays refuse events too far in the future.
const MAX_AHEAD_SECONDS = 60;

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
  const { signer, line } = session;
  const content = await signer.encrypt(signer.cipher, line, JSON.stringify({ ...payload, timestamp: unixSeconds() }));
  const created_at = nextCreatedAt(signer.pubkey, kind);
  return signer.sign({
    kind,
    created_at,
    content,
    tags: [
      ["p", line],
      ["session_id", session.id],
      ["type", "video"],
      ["sig_alg", signer.cipher],
      ["expiration", String(created_at + KEPT_SECONDS)],
    ],
  });
}

const tag = (event: Event, name: string): string | undefined => event.tags.find((entry) => entry[0] === name)?.[1];

/** Whether a verified event speaks for this session, by its outside. */
export function belongs(session: Session, event: Event): boolean {
  const expiration = Number(tag(event, "expiration") ?? Infinity);
  return (
    event.pubkey === session.line &&
    tag(event, "p") === session.signer.pubkey &&
    tag(event, "session_id") === session.id &&
    !(expiration < unixSeconds())
  );
}

/** Opens a verified event of the line; undefined when it cannot be read. Unknown fields are ignored, numbers may be strings. */
export async function open(session: Session, event: Event): Promise<Signal | undefined> {
  const cipher: Cipher = tag(event, "sig_alg") === "NIP-04" ? "NIP-04" : "NIP-44";
  let payload: Record<string, unknown>;
  try {
    const parsed: unknown = JSON.parse(await session.signer.decrypt(cipher, event.pubkey, event.content));
    if (typeof parsed !== "object" || parsed === null) return undefined;
    payload = parsed as Record<string, unknown>;
  } catch (thrown) {
    // The person, or the key extension, said no: worth a word. Anything else is not for us.
    if (thrown instanceof Trouble) throw thrown;
    return undefined;
  }
  const text = (name: string): string => (typeof payload[name] === "string" ? payload[name] : "");
  switch (event.kind) {
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
      return { kind: END, reason: text("reason"), detail: text("detail") };
    default:
      return undefined;
  }
}
