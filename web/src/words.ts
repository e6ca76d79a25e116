// How a call ended, in words.

import type { Signer } from "./identity.ts";
import type { End } from "./signals.ts";
import { Trouble, sentence } from "./trouble.ts";

export function iceFailed(): Trouble {
  return new Trouble("ice-failed", "No way through to the line", "The line answered, but your network and its network let no media through. Try another network, or ask the operator for a TURN server.");
}

export function connectionLost(): Trouble {
  return new Trouble("connection-lost", "The connection was lost", "Nothing comes from the line any more. It may be off, or your network changed. Call again.");
}

const INVITATION = "The invitation may have run out, or been withdrawn: ask whoever sent you the link for a new one.";

/** `unopened`: what came meanwhile and was not opened by the key extension. */
export function noAnswer(source: Signer["source"], unopened: number): Trouble {
  const why =
    unopened > 0
      ? "Something came that your key extension did not open: allow this page to decrypt with NIP-44, or use a key of this page."
      : source === "link"
        ? `It may be off. ${INVITATION}`
        : "It may be off, or you may not be on its list: send its operator your npub.";
  return new Trouble("no-answer", "The line did not answer", `${why} The relay took the call, so the relay works.`);
}

export function refusal(source: Signer["source"]): Trouble {
  return new Trouble("refused", "The line refused the call", source === "link" ? INVITATION : "It gave no reason.");
}

/** A `call_end` in words; `ringing` when there was no call yet. */
export function endWords(end: Pick<End, "reason" | "cause" | "detail">, ringing: boolean): Trouble {
  const said = sentence(end.detail);
  const words = (otherwise: string): string => (said === "" ? otherwise : `It says: ${said}`);
  switch (end.cause) {
    case "busy":
      return new Trouble("busy", "The line is busy", words("It takes no more calls just now. Try again in a while."));
    case "declined":
      return new Trouble("declined", "The call was declined", words("Whoever is there does not want to answer now."));
    case "elsewhere":
      return new Trouble("elsewhere", "Answered on another device", words("The call goes on there."));
  }
  switch (end.reason) {
    case "rejected":
      return new Trouble("refused", ringing ? "The line refused the call" : "The line ended the call", words("It gave no reason."));
    case "timeout":
      return new Trouble("line-ended", "The line gave up waiting", words("The connection did not come up in time."));
    default:
      return new Trouble("line-ended", "The line hung up", words("Call again if you want to go on."));
  }
}

/** Why a call that rang here rings no more, when that was not decided here. */
export function stoppedWords(name: string, end: Pick<End, "reason" | "cause" | "except">): string {
  if (end.cause === "declined") return `The call of ${name} was declined on another device.`;
  if (end.cause === "elsewhere" || end.except !== "") return `The call of ${name} was answered on another device.`;
  const at = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return end.reason === "timeout" ? `You missed a call of ${name} at ${at}.` : `${name} called at ${at} and hung up.`;
}
