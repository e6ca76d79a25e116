// Who calls: a NIP-07 extension, a key made in this page, or a key in the address's fragment.

import * as nip04 from "nostr-tools/nip04";
import * as nip19 from "nostr-tools/nip19";
import * as nip44 from "nostr-tools/nip44";
import { finalizeEvent, generateSecretKey, getPublicKey, type EventTemplate, type VerifiedEvent } from "nostr-tools/pure";
import { Trouble } from "./trouble.ts";

/** How content is sealed: the protocol's `sig_alg` tag. */
export type Cipher = "NIP-44" | "NIP-04";

export interface Signer {
  readonly source: "extension" | "page" | "link";
  readonly pubkey: string;
  /** The best cipher that this signer has. */
  readonly cipher: Cipher;
  /** Whether it can open wraps, which are sealed with NIP-44. */
  readonly wraps: boolean;
  sign(template: EventTemplate): Promise<VerifiedEvent>;
  encrypt(cipher: Cipher, to: string, text: string): Promise<string>;
  decrypt(cipher: Cipher, from: string, text: string): Promise<string>;
}

interface Nip07Cipher {
  encrypt(pubkey: string, text: string): Promise<string>;
  decrypt(pubkey: string, text: string): Promise<string>;
}

interface Nip07 {
  getPublicKey(): Promise<string>;
  signEvent(template: EventTemplate): Promise<VerifiedEvent>;
  nip44?: Nip07Cipher;
  nip04?: Nip07Cipher;
}

const STORED_KEY = "callgate.key";

export function extension(): Nip07 | undefined {
  return (window as { nostr?: Nip07 }).nostr;
}

export function keySigner(secret: Uint8Array, source: "page" | "link"): Signer {
  const pubkey = getPublicKey(secret);
  // None of these waits for anything: a call can be ended while the page is going away.
  return {
    source,
    pubkey,
    cipher: "NIP-44",
    wraps: true,
    sign: async (template) => finalizeEvent(template, secret),
    encrypt: async (cipher, to, text) =>
      cipher === "NIP-44" ? nip44.encrypt(text, nip44.getConversationKey(secret, to)) : nip04.encrypt(secret, to, text),
    decrypt: async (cipher, from, text) =>
      cipher === "NIP-44" ? nip44.decrypt(text, nip44.getConversationKey(secret, from)) : nip04.decrypt(secret, from, text),
  };
}

/** The extension's signer; asks the person, through the extension, for leave. */
export async function extensionSigner(): Promise<Signer> {
  const nostr = extension();
  if (nostr === undefined) throw new Trouble("extension", "No key extension found", "Use a key of this page, or install a Nostr extension (NIP-07) and load the page again.");
  const best = nostr.nip44 !== undefined ? "NIP-44" : nostr.nip04 !== undefined ? "NIP-04" : undefined;
  if (best === undefined) {
    throw new Trouble("extension", "Your key extension cannot encrypt", "It offers neither NIP-44 nor NIP-04. Use a key of this page, or another extension.");
  }
  const asked = async <T>(what: string, ask: () => Promise<T>): Promise<T> => {
    try {
      return await ask();
    } catch (thrown) {
      const text = thrown instanceof Error ? thrown.message : String(thrown);
      throw new Trouble("extension", "Your key extension said no", `It did not ${what} (${text.slice(0, 120)}). Allow this page in the extension, or use a key of this page.`);
    }
  };
  const pick = (cipher: Cipher): Nip07Cipher => {
    const found = cipher === "NIP-44" ? nostr.nip44 : nostr.nip04;
    if (found === undefined) throw new Trouble("extension", "Your key extension cannot read this", `It has no ${cipher}.`);
    return found;
  };
  return {
    source: "extension",
    pubkey: await asked("give your public key", () => nostr.getPublicKey()),
    cipher: best,
    wraps: best === "NIP-44",
    sign: (template) => asked("sign the call", () => nostr.signEvent(template)),
    encrypt: (cipher, to, text) => asked("encrypt the call", () => pick(cipher).encrypt(to, text)),
    decrypt: (cipher, from, text) => asked("decrypt the answer", () => pick(cipher).decrypt(from, text)),
  };
}

/** A secret key as people write it: nsec or hex. */
export function readSecret(text: string): Uint8Array {
  const word = text.trim();
  try {
    if (/^[0-9a-f]{64}$/i.test(word)) return Uint8Array.from(word.match(/../g) ?? [], (byte) => parseInt(byte, 16));
    const decoded = nip19.decode(word.toLowerCase());
    if (decoded.type === "nsec") return decoded.data;
  } catch {
    // Said below, without the text: it may be most of a secret.
  }
  throw new Trouble("bad-key", "That is not a secret key", "A secret key starts with nsec1 and has 63 characters.");
}

/** The key kept in this browser, made at the first visit. Where nothing can be kept, it lives as long as the page. */
export function storedSecret(): Uint8Array {
  const kept = recall(STORED_KEY);
  if (kept !== undefined) {
    try {
      return readSecret(kept);
    } catch {
      // Unreadable: a new one takes its place.
    }
  }
  return replaceSecret(generateSecretKey());
}

export function replaceSecret(secret: Uint8Array): Uint8Array {
  keep(STORED_KEY, nip19.nsecEncode(secret));
  return secret;
}

export function newSecret(): Uint8Array {
  return replaceSecret(generateSecretKey());
}

/** localStorage throws where cookies are off, and in some browsers for file:// pages. */
export function recall(name: string): string | undefined {
  try {
    return localStorage.getItem(name) ?? undefined;
  } catch {
    return undefined;
  }
}

export function keep(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Not kept: the page works all the same.
  }
}
