// Several relays at once: everything goes to all of them, and what comes first counts.

import type { Filter } from "nostr-tools/filter";
import type { Event } from "nostr-tools/pure";
import { Relay } from "nostr-tools/relay";
import type { Signer } from "./identity.ts";
import { Trouble, sentence } from "./trouble.ts";

export interface Relays {
  /** Keeps these relays open and subscribed until the returned function is called. */
  hold(urls: string[]): () => void;
  /** Resolves when one of these held relays has taken the event; rejects when none did. */
  publish(urls: string[], event: Event): Promise<void>;
  /** The newest event on these held relays that matches. */
  find(urls: string[], filter: Filter): Promise<Event | undefined>;
  /** Whether one of these held relays is connected. */
  reachable(urls: string[]): boolean;
  /** Connects anew. A network that changed leaves connections behind that look open and carry nothing. */
  renew(urls: string[]): void;
}

const CONNECT_TIMEOUT_MS = 6000;
// A relay that went away is tried again after these pauses: a hang-up still wants to be said, and a phone to ring.
const RECONNECT_MS = [500, 1000, 2000, 4000, 8000, 15000];
// What a relay does not find by then is not waited for.
const FIND_MS = 3000;
// So many ids are remembered: a relay shows an event again soon, or never.
const REMEMBERED = 2000;

interface Link {
  holders: number;
  readonly ready: Promise<Relay>;
  connected(): boolean;
  renew(): void;
  close(): void;
}

/** Relays that are held are subscribed to `filter`. `heard` gets every verified event once. */
export function openRelays(signer: Signer, filter: Filter, heard: (event: Event) => void): Relays {
  const seen = memory();
  const links = new Map<string, Link>();

  function openLink(url: string): Link {
    let closed = false;
    let attempt = 0;
    let relay: Relay;
    let ready: Promise<Relay>;
    let retry: ReturnType<typeof setTimeout> | undefined;

    function connect(): void {
      clearTimeout(retry);
      const current = new Relay(url, { enablePing: true });
      relay = current;
      current.onnotice = () => {};
      ready = current.connect({ timeout: CONNECT_TIMEOUT_MS }).then(() => {
        if (closed || current !== relay) {
          current.close();
          throw new Unreachable(url);
        }
        attempt = 0;
        subscribe(current);
        return current;
      });
      // Whoever publishes sees the failure; nobody may be waiting.
      ready.catch(() => {});
      current.onclose = () => {
        if (closed || current !== relay) return;
        retry = setTimeout(connect, RECONNECT_MS[Math.min(attempt++, RECONNECT_MS.length - 1)]);
      };
    }

    function subscribe(current: Relay): void {
      current.subscribe([filter], {
        alreadyHaveEvent: (id) => seen.has(id),
        onevent: (event) => {
          if (seen.add(event.id)) heard(event);
        },
        onclose: (reason) => {
          // NIP-42: the relay wants to know who asks before it tells.
          if (!closed && current.connected && reason.startsWith("auth-required")) {
            current.auth((template) => signer.sign(template)).then(() => subscribe(current), () => {});
          }
        },
      });
    }

    function leave(left: Relay): void {
      for (const subscription of left.openSubs.values()) subscription.close();
      // What a subscription says to the relay at its end goes out a moment later, and must not meet a closed socket.
      setTimeout(() => left.close());
    }

    connect();
    return {
      holders: 0,
      get ready() {
        return ready;
      },
      connected: () => relay.connected,
      renew() {
        const old = relay;
        connect();
        // The old one may still be good: it hears until the new one does.
        ready.catch(() => {}).then(() => leave(old));
      },
      close() {
        closed = true;
        clearTimeout(retry);
        leave(relay);
      },
    };
  }

  async function publishTo(url: string, event: Event): Promise<void> {
    let relay: Relay | undefined;
    try {
      relay = await links.get(url)?.ready;
    } catch {
      // Said below.
    }
    if (relay?.connected !== true) throw new Unreachable(url);
    const current = relay;
    try {
      await current.publish(event);
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      if (!reason.startsWith("auth-required")) throw new Refused(url, reason);
      await current.auth((template) => signer.sign(template));
      await current.publish(event).catch((again: unknown) => {
        throw new Refused(url, again instanceof Error ? again.message : String(again));
      });
    }
  }

  async function findAt(url: string, filter: Filter): Promise<Event | undefined> {
    const relay = await links.get(url)?.ready.catch(() => undefined);
    if (relay?.connected !== true) return undefined;
    return new Promise((resolve) => {
      let newest: Event | undefined;
      const subscription = relay.subscribe([{ ...filter, limit: 1 }], {
        onevent: (event) => {
          if (newest === undefined || event.created_at > newest.created_at) newest = event;
        },
        oneose: () => subscription.close(),
        onclose: () => resolve(newest),
        eoseTimeout: FIND_MS,
      });
    });
  }

  return {
    hold(urls) {
      const held = [...new Set(urls)];
      for (const url of held) {
        const link = links.get(url) ?? openLink(url);
        links.set(url, link);
        link.holders++;
      }
      return () => {
        for (const url of held.splice(0)) {
          const link = links.get(url);
          if (link === undefined || --link.holders > 0) continue;
          links.delete(url);
          link.close();
        }
      };
    },
    async publish(urls, event) {
      try {
        await Promise.any(urls.map((url) => publishTo(url, event)));
      } catch (thrown) {
        const errors: unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown];
        throw unpublished(urls, errors);
      }
    },
    async find(urls, filter) {
      const found = await Promise.all(urls.map((url) => findAt(url, filter)));
      return found.filter((event) => event !== undefined).sort((a, b) => b.created_at - a.created_at)[0];
    },
    reachable: (urls) => urls.some((url) => links.get(url)?.connected() === true),
    renew(urls) {
      for (const url of urls) links.get(url)?.renew();
    },
  };
}

/** The newest ids of those that were added. */
export function memory(): { has(id: string): boolean; add(id: string): boolean } {
  const ids = new Set<string>();
  return {
    has: (id) => ids.has(id),
    /** Whether it is new. */
    add(id) {
      if (ids.has(id)) return false;
      ids.add(id);
      for (const oldest of ids) {
        if (ids.size <= REMEMBERED) break;
        ids.delete(oldest);
      }
      return true;
    },
  };
}

class Unreachable extends Error {
  constructor(readonly url: string) {
    super(url);
  }
}

class Refused extends Error {
  constructor(
    readonly url: string,
    readonly reason: string,
  ) {
    super(reason);
  }
}

/** Why no relay took an event. */
function unpublished(urls: string[], errors: unknown[]): Trouble {
  const trouble = errors.find((error) => error instanceof Trouble);
  if (trouble !== undefined) return trouble;
  const refused = errors.find((error) => error instanceof Refused);
  if (refused !== undefined) {
    return new Trouble("relay-refused", "The relay did not take the call", `${host(refused.url)} says: ${sentence(refused.reason)} Try another relay that the line listens on.`);
  }
  const plain = urls.filter((url) => url.startsWith("ws:"));
  if (location.protocol === "https:" && plain.length === urls.length) {
    return new Trouble("insecure-relay", "The browser blocks this relay", `An https page may not use ws:// (${plain.map(host).join(", ")}). Use a wss:// relay, or open the page from a file or over http.`);
  }
  const names = urls.map(host).join(", ");
  return urls.length === 1
    ? new Trouble("relays-unreachable", "The relay can't be reached", `${names} does not answer. It may be down, its address may be wrong, or you may be offline.`)
    : new Trouble("relays-unreachable", "No relay can be reached", `None of ${names} answers. Their addresses may be wrong, or you may be offline.`);
}

export function host(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}
