// The wrapped dialect: a signed event inside kind 21059 (NIP-59's ephemeral gift wrap), which hides who calls whom from relays.

import * as nip44 from "nostr-tools/nip44";
import { finalizeEvent, generateSecretKey, verifyEvent, type Event } from "nostr-tools/pure";
import type { Signer } from "./identity.ts";
import { KEPT_SECONDS, unixSeconds } from "./signals.ts";

export const WRAP = 21059;

/** Wraps a signed event for `to`, under a key that is used this once. */
export function wrap(event: Event, to: string): Event {
  const secret = generateSecretKey();
  const created_at = unixSeconds();
  return finalizeEvent(
    {
      kind: WRAP,
      created_at,
      content: nip44.encrypt(JSON.stringify(event), nip44.getConversationKey(secret, to)),
      tags: [
        ["p", to],
        ["expiration", String(created_at + KEPT_SECONDS)],
      ],
    },
    secret,
  );
}

/** The event in a verified wrap, itself verified; undefined when there is none in it. Rejects when the signer can't open it. */
export async function unwrap(signer: Signer, outer: Event): Promise<Event | undefined> {
  const text = await signer.decrypt("NIP-44", outer.pubkey, outer.content);
  try {
    const inner = JSON.parse(text) as Event;
    return verifyEvent(inner) ? inner : undefined;
  } catch {
    return undefined;
  }
}
