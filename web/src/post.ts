// What comes for a key and what goes out from it, in both dialects.

import type { Event } from "nostr-tools/pure";
import type { Signer } from "./identity.ts";
import { memory, openRelays } from "./relays.ts";
import { KINDS, OFFER, seal, tag, unixSeconds, type Session } from "./signals.ts";
import { Trouble } from "./trouble.ts";
import { WRAP, unwrap, wrap } from "./wrap.ts";

/** How an event travels: as it is, or inside a wrap that hides its author. */
export type Dialect = "wrapped" | "plain";

/** A verified event for this key. */
export interface Letter {
  event: Event;
  dialect: Dialect;
}

/** A place at the post: hears until it is left. */
export interface Box {
  send(event: Event, to: string, dialect: Dialect): Promise<void>;
  /** The name that a key gives itself in its profile (kind 0). */
  profileName(pubkey: string): Promise<string | undefined>;
  /** Whether one of its relays is connected. */
  reachable(): boolean;
  /** Connects anew to its relays. */
  renew(): void;
  leave(): void;
}

export interface Post {
  readonly signer: Signer;
  join(relays: string[], heard: (letter: Letter) => void): Box;
  /** Wraps that the key extension did not open: perhaps the person has to allow it. */
  unopened(): number;
}

const MAX_CONTENT = 64 * 1024;
// Wraps can be anyone's, and opening one costs: more than this at a time is a flood, and dropped.
const MAX_WAITING = 100;
// What a relay may still hold for us when it is asked.
const STORED = 100;

export function openPost(signer: Signer): Post {
  const boxes = new Set<(letter: Letter) => void>();
  const seen = memory();
  let waiting = 0;
  let unopened = 0;
  let last = Promise.resolve();
  const kinds = signer.wraps ? [WRAP, ...KINDS] : KINDS;
  const relays = openRelays(signer, { kinds, "#p": [signer.pubkey], limit: STORED }, (event) => {
    if (waiting >= MAX_WAITING || event.content.length > MAX_CONTENT || !forUs(event)) return;
    waiting++;
    // In order: the end of a call must not overtake its offer.
    last = last.then(() => sort(event)).finally(() => waiting--);
  });

  // Relays' filters are not trusted.
  function forUs(event: Event): boolean {
    const expiration = Number(tag(event, "expiration") ?? Infinity);
    return kinds.includes(event.kind) && tag(event, "p") === signer.pubkey && !(expiration < unixSeconds());
  }

  async function sort(event: Event): Promise<void> {
    let letter: Letter = { event, dialect: "plain" };
    if (event.kind === WRAP) {
      const inner = await unwrap(signer, event).catch(() => {
        if (signer.source === "extension") unopened++;
        return undefined;
      });
      if (inner === undefined || !KINDS.includes(inner.kind) || !forUs(inner)) return;
      letter = { event: inner, dialect: "wrapped" };
    }
    // The same event may come in both dialects.
    if (!seen.add(letter.event.id)) return;
    for (const box of [...boxes]) box(letter);
  }

  return {
    signer,
    unopened: () => unopened,
    join(urls, heard) {
      const release = relays.hold(urls);
      boxes.add(heard);
      return {
        send: (event, to, dialect) => relays.publish(urls, dialect === "wrapped" ? wrap(event, to) : event),
        async profileName(pubkey) {
          const event = await relays.find(urls, { kinds: [0], authors: [pubkey] });
          if (event?.pubkey !== pubkey || event.kind !== 0) return undefined;
          try {
            const { display_name, name } = JSON.parse(event.content) as Record<string, unknown>;
            return [display_name, name].find((text) => typeof text === "string" && text.trim() !== "") as string | undefined;
          } catch {
            return undefined;
          }
        },
        reachable: () => relays.reachable(urls),
        renew: () => relays.renew(urls),
        leave() {
          boxes.delete(heard);
          release();
        },
      };
    },
  };
}

/** Says this side's signals of one session, in the dialect that the other side understands. */
export interface Speaker {
  /** Resolves when a relay has it. */
  say(kind: number, payload: Record<string, unknown>): Promise<void>;
  /** The other side spoke like this. */
  heard(dialect: Dialect): void;
  /** Nothing was heard: says everything again, plain too. */
  fallBack(): Promise<void>;
}

// A relay drops one of two replaceable events that reach it close together.
const PLAIN_PAUSE_MS = 200;

/** Without a known dialect it begins wrapped. */
export function openSpeaker(session: Session, box: Box, dialect: Dialect | undefined): Speaker {
  let known: Dialect | undefined = session.signer.wraps ? dialect : "plain";
  let plainToo = false;
  const said: { kind: number; payload: Record<string, unknown>; event: Event }[] = [];

  async function sendPlain(events: Event[]): Promise<void> {
    for (const [index, event] of events.entries()) {
      if (index > 0) await new Promise((resolve) => setTimeout(resolve, PLAIN_PAUSE_MS));
      await box.send(event, session.peer, "plain");
    }
  }

  async function fallBack(): Promise<void> {
    if (known !== undefined) return;
    plainToo = true;
    const again = said.map(({ event }) => box.send(event, session.peer, "wrapped").catch(() => {}));
    // Whoever knows both dialects takes a signed event once, and an offer signed anew for the same call, answered in this dialect.
    const plain = said.map(({ kind, payload, event }) => (kind === OFFER ? seal(session, kind, payload) : event));
    await sendPlain(await Promise.all(plain));
    await Promise.all(again);
  }

  return {
    async say(kind, payload) {
      const event = await seal(session, kind, payload);
      if (known !== undefined) return box.send(event, session.peer, known);
      said.push({ kind, payload, event });
      const wrapped = box.send(event, session.peer, "wrapped");
      if (plainToo) return sendPlain([event]).catch(() => wrapped);
      return wrapped.catch((thrown: unknown) => {
        // A relay that takes no wraps may take the events themselves.
        if (thrown instanceof Trouble && thrown.code === "relay-refused") return fallBack();
        throw thrown;
      });
    },
    heard(heard) {
      known ??= heard;
      said.length = 0;
    },
    fallBack,
  };
}
