// What to call, and with what: read from the address's fragment, from the form, or from callgate's list of lines.

import * as nip19 from "nostr-tools/nip19";
import { Trouble } from "./trouble.ts";

export interface Target {
  /** The line's public key, hex. */
  pubkey: string;
  relays: string[];
  name: string | undefined;
  /** Whether the line takes the caller's voice; undefined when nobody said. */
  talk: boolean | undefined;
}

/** `#npub=...&relay=...&relay=...&name=...&key=nsec...&talk=1&stun=host:port&turn=host:port&turn_user=...&turn_pass=...&wait=20` */
export interface Fragment {
  npub: string;
  relays: string[];
  name: string | undefined;
  talk: boolean | undefined;
  iceServers: RTCIceServer[];
  /** Seconds to wait for an answer. */
  wait: number;
}

// An RTSP camera that has to be opened first answers within some seconds; nobody looks at a ringing page for longer.
const ANSWER_WAIT_SECONDS = 20;

export function readFragment(hash: string): Fragment {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const wait = Number(fields.get("wait") ?? "");
  const talk = fields.get("talk");
  const withScheme = (scheme: string, value: string): string => (/^(stuns?|turns?):/.test(value) ? value : `${scheme}:${value}`);
  const iceServers: RTCIceServer[] = fields.getAll("stun").map((url) => ({ urls: withScheme("stun", url) }));
  for (const url of fields.getAll("turn")) {
    iceServers.push({
      urls: withScheme("turn", url),
      username: fields.get("turn_user") ?? "",
      credential: fields.get("turn_pass") ?? "",
    });
  }
  return {
    npub: fields.get("npub") ?? "",
    relays: fields.getAll("relay"),
    name: fields.get("name") ?? undefined,
    talk: talk === null ? undefined : talk === "1" || talk === "true",
    iceServers,
    wait: Number.isFinite(wait) && wait >= 1 && wait <= 120 ? wait : ANSWER_WAIT_SECONDS,
  };
}

/**
 * The secret key that came with the link. It leaves the address bar, where it would be seen, copied and bookmarked; the tab's
 * own entry in its history keeps it, so that the page can be loaded again.
 */
export function takeLinkKey(): string | undefined {
  const fields = location.hash.replace(/^#/, "").split("&");
  const key = new URLSearchParams(fields.find((field) => field.startsWith("key="))).get("key");
  if (key === null) {
    const kept = (history.state as { linkKey?: unknown } | null)?.linkKey;
    return typeof kept === "string" ? kept : undefined;
  }
  history.replaceState({ linkKey: key }, "", `#${fields.filter((field) => !field.startsWith("key=")).join("&")}`);
  return key;
}

/** A line's key as people write it: npub, nprofile (with its relays), `nostr:` in front or not, or hex. */
export function readLine(text: string): { pubkey: string; relays: string[] } {
  const word = text.trim().replace(/^nostr:/i, "");
  if (word === "") throw new Trouble("bad-npub", "Whom to call?", "Enter the line's npub, or choose a line.");
  if (/^[0-9a-f]{64}$/i.test(word)) return { pubkey: word.toLowerCase(), relays: [] };
  if (/^nsec1/i.test(word)) {
    throw new Trouble("bad-npub", "That is a secret key", "It starts with nsec. A line is called by its public key, which starts with npub. Never show an nsec to anyone.");
  }
  try {
    const decoded = nip19.decode(word.toLowerCase());
    if (decoded.type === "npub") return { pubkey: decoded.data, relays: [] };
    if (decoded.type === "nprofile") return { pubkey: decoded.data.pubkey, relays: decoded.data.relays ?? [] };
  } catch {
    // Said below.
  }
  throw new Trouble("bad-npub", "That is not an npub", "A line's key starts with npub1 and has 63 characters. Part of it may be missing, or a letter may be wrong.");
}

/** Relay addresses as typed: separated by spaces, commas or lines; a bare host is taken as wss. */
export function readRelays(texts: string[]): string[] {
  const words = texts.flatMap((text) => text.split(/[\s,]+/)).filter((word) => word !== "");
  const urls = words.map((word) => {
    let url: URL;
    try {
      url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(word) ? word : `wss://${word}`);
    } catch {
      throw new Trouble("bad-relay", "That is not a relay's address", `“${word.slice(0, 80)}” cannot be read. A relay's address looks like wss://relay.example.com.`);
    }
    if (url.protocol !== "ws:" && url.protocol !== "wss:") {
      throw new Trouble("bad-relay", "That is not a relay's address", `“${word.slice(0, 80)}” does not start with wss:// or ws://.`);
    }
    url.hash = "";
    return url.href;
  });
  return [...new Set(urls)];
}

/** Everything that a call needs, or words about what is missing. */
export function readTarget(npub: string, relays: string[], name: string | undefined, talk: boolean | undefined): Target {
  const line = readLine(npub);
  const urls = readRelays([...relays, ...line.relays]);
  if (urls.length === 0) {
    throw new Trouble("no-relay", "No relay to call through", "Enter the address of a relay that the line listens on, such as wss://relay.example.com.");
  }
  return { pubkey: line.pubkey, relays: urls, name, talk };
}
