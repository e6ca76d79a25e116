// The lines that were called from this browser: they may ring back.

import { keep, recall } from "./identity.ts";

const CALLED = "callgate.called";
const MAX_CALLED = 100;

interface Called {
  pubkey: string;
  name: string | undefined;
}

function all(): Called[] {
  try {
    const kept: unknown = JSON.parse(recall(CALLED) ?? "[]");
    return Array.isArray(kept) ? kept.filter((entry): entry is Called => typeof entry?.pubkey === "string") : [];
  } catch {
    return [];
  }
}

/** The newest first. */
export function noteCalled(pubkey: string, name: string | undefined): void {
  const others = all().filter((entry) => entry.pubkey !== pubkey);
  keep(CALLED, JSON.stringify([{ pubkey, name }, ...others].slice(0, MAX_CALLED)));
}

export function wasCalled(pubkey: string): boolean {
  return all().some((entry) => entry.pubkey === pubkey);
}

/** The name that a line had when it was called. */
export function calledName(pubkey: string): string | undefined {
  const name = all().find((entry) => entry.pubkey === pubkey)?.name;
  return typeof name === "string" && name !== "" ? name : undefined;
}
