// What can go wrong, in words for the person who calls. Code reads `code`, people read `words`.

export type TroubleCode =
  | "bad-npub"
  | "bad-key"
  | "no-relay"
  | "bad-relay"
  | "insecure-relay"
  | "relays-unreachable"
  | "relay-refused"
  | "no-answer"
  | "refused"
  | "busy"
  | "declined"
  | "elsewhere"
  | "line-ended"
  | "bad-answer"
  | "ice-failed"
  | "connection-lost"
  | "no-webrtc"
  | "no-h264"
  | "extension"
  | "microphone-refused"
  | "microphone-missing"
  | "microphone-insecure"
  | "internal";

export class Trouble extends Error {
  constructor(
    readonly code: TroubleCode,
    readonly title: string,
    readonly words: string,
  ) {
    super(words);
  }
}

/** Whatever was thrown, as something that can be shown. */
export function troubleOf(thrown: unknown): Trouble {
  if (thrown instanceof Trouble) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new Trouble("internal", "Something went wrong in this page", text);
}

/** A sentence of the line's own, kept to one short line of text. */
export function sentence(text: string): string {
  const line = text.replace(/\s+/g, " ").trim().slice(0, 200);
  if (line === "") return "";
  return /[.!?]$/.test(line) ? line : `${line}.`;
}
