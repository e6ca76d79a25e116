// The lines of the callgate that serves this page; a page from elsewhere has none.

export interface Line {
  name: string;
  npub: string;
  relays: string[];
  talk: boolean;
  state: "idle" | "opening" | "open" | "reopening";
  callers: number;
}

/** Undefined when this page does not come from a callgate that tells its lines. */
export async function fetchLines(): Promise<Line[] | undefined> {
  if (!location.protocol.startsWith("http")) return undefined;
  try {
    const answer = await fetch(new URL("api/lines", location.href), { headers: { accept: "application/json" }, cache: "no-store" });
    if (!answer.ok) return undefined;
    const body: unknown = await answer.json();
    const lines = typeof body === "object" && body !== null ? (body as { lines?: unknown }).lines : undefined;
    return Array.isArray(lines) ? lines.map(readLine).filter((line) => line !== undefined) : undefined;
  } catch {
    return undefined;
  }
}

function readLine(value: unknown): Line | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { name, npub, relays, talk, state, callers } = value as Record<string, unknown>;
  if (typeof name !== "string" || typeof npub !== "string" || !Array.isArray(relays)) return undefined;
  return {
    name,
    npub,
    relays: relays.filter((relay) => typeof relay === "string"),
    talk: talk === true,
    state: state === "opening" || state === "open" || state === "reopening" ? state : "idle",
    callers: typeof callers === "number" ? callers : 0,
  };
}
