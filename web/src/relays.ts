// Several relays at once: everything goes to all of them, and what comes first counts.

import type { Filter } from "nostr-tools/filter";
import type { Event } from "nostr-tools/pure";
import { Relay } from "nostr-tools/relay";
import type { Signer } from "./identity.ts";
import { Trouble, sentence } from "./trouble.ts";

export interface Relays {
  /** Resolves when one relay has taken the event; rejects when none did. */
  publish(event: Event): Promise<void>;
  close(): void;
}

const CONNECT_TIMEOUT_MS = 6000;
// A relay that went away during a call is tried again after these pauses: a hang-up still wants to be said.
const RECONNECT_MS = [500, 1000, 2000, 4000, 8000, 15000];

/** Opens all relays and keeps them open, subscribed to `filter`. `heard` gets every verified event once. */
export function openRelays(urls: string[], signer: Signer, filter: Filter, heard: (event: Event) => void): Relays {
  const seen = new Set<string>();
  let closed = false;
  const links = urls.map((url) => openLink(url));

  function openLink(url: string) {
    let attempt = 0;
    let relay: Relay;
    let ready: Promise<Relay>;

    const connect = (): void => {
      relay = new Relay(url);
      relay.onnotice = () => {};
      const current = relay;
      ready = current.connect({ timeout: CONNECT_TIMEOUT_MS }).then(() => {
        attempt = 0;
        subscribe(current);
        return current;
      });
      // Whoever publishes sees the failure; nobody may be waiting.
      ready.catch(() => {});
      current.onclose = () => {
        if (closed || current !== relay) return;
        const pause = RECONNECT_MS[Math.min(attempt++, RECONNECT_MS.length - 1)];
        setTimeout(() => {
          if (!closed) connect();
        }, pause);
      };
    };

    const subscribe = (current: Relay): void => {
      current.subscribe([filter], {
        alreadyHaveEvent: (id) => seen.has(id),
        onevent: (event) => {
          if (seen.has(event.id)) return;
          seen.add(event.id);
          heard(event);
        },
        onclose: (reason) => {
          // NIP-42: the relay wants to know who asks before it tells.
          if (!closed && current.connected && reason.startsWith("auth-required")) {
            current.auth((template) => signer.sign(template)).then(() => subscribe(current), () => {});
          }
        },
      });
    };

    connect();
    return {
      url,
      relay: (): Relay => relay,
      ready: (): Promise<Relay> => ready,
    };
  }

  async function publishTo(link: (typeof links)[number], event: Event): Promise<void> {
    let relay: Relay;
    try {
      relay = await link.ready();
    } catch {
      throw new Unreachable(link.url);
    }
    if (!relay.connected) throw new Unreachable(link.url);
    try {
      await relay.publish(event);
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      if (!reason.startsWith("auth-required")) throw new Refused(link.url, reason);
      await relay.auth((template) => signer.sign(template));
      await relay.publish(event).catch((again: unknown) => {
        throw new Refused(link.url, again instanceof Error ? again.message : String(again));
      });
    }
  }

  return {
    async publish(event) {
      try {
        await Promise.any(links.map((link) => publishTo(link, event)));
      } catch (thrown) {
        const errors: unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown];
        throw unpublished(urls, errors);
      }
    },
    close() {
      closed = true;
      for (const link of links) {
        const relay = link.relay();
        for (const subscription of relay.openSubs.values()) subscription.close();
        // What a subscription says to the relay at its end goes out a moment later, and must not meet a closed socket.
        setTimeout(() => relay.close());
      }
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
