// The recordings of the callgate that serves this page: a list with posters, and a player that seeks.

import { element, short, show } from "./dom.ts";

export interface Recording {
  id: string;
  line: string;
  caller: string | undefined;
  started: number;
  ended: number | undefined;
  bytes: number;
  end: string;
  inProgress: boolean;
  media: string;
  poster: string | undefined;
}

const EVERY_MS = 5000;
/** Kept for the tab alone: whoever closes it has to know the token again. */
const TOKEN = "callgate-api-token";

const player = element<HTMLVideoElement>("player");
let recordings: Recording[] = [];
let playing: string | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Keeps the list as the gateway has it; a page from elsewhere has none. `told` gets each new list. */
export function openRecordings(told: (recordings: Recording[]) => void): void {
  element("recordings-token").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, element<HTMLInputElement>("token").value.trim());
    void refresh(told);
  });
  element("player-close").addEventListener("click", () => play(undefined));
  void refresh(told);
}

async function refresh(told: (recordings: Recording[]) => void): Promise<void> {
  clearTimeout(timer);
  const found = await fetchRecordings();
  if (found === undefined) return;
  const locked = found === "token";
  element("recordings-card").hidden = !locked && found.length === 0;
  element("recordings-token").hidden = !locked;
  const wrong = locked && sessionStorage.getItem(TOKEN) !== null;
  show("token-trouble", wrong ? "That is not the token." : undefined);
  if (locked) {
    sessionStorage.removeItem(TOKEN);
    draw([]);
    return;
  }
  recordings = found;
  draw(found);
  told(found);
  timer = setTimeout(() => void refresh(told), EVERY_MS);
}

async function fetchRecordings(): Promise<Recording[] | "token" | undefined> {
  if (!location.protocol.startsWith("http")) return undefined;
  const token = sessionStorage.getItem(TOKEN);
  const headers: Record<string, string> = { accept: "application/json" };
  if (token !== null) headers["authorization"] = `Bearer ${token}`;
  try {
    const answer = await fetch(new URL("api/recordings", location.href), { headers, cache: "no-store" });
    if (answer.status === 401) return "token";
    if (!answer.ok) return undefined;
    const body: unknown = await answer.json();
    const list = typeof body === "object" && body !== null ? (body as { recordings?: unknown }).recordings : undefined;
    return Array.isArray(list) ? list.map(readRecording).filter((recording) => recording !== undefined) : undefined;
  } catch {
    // The gateway is away for a moment: what is shown stays.
    return recordings.length > 0 ? recordings : undefined;
  }
}

function readRecording(value: unknown): Recording | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { id, line, caller, started, ended, bytes, end, in_progress, media, poster } = value as Record<string, unknown>;
  if (typeof id !== "string" || typeof line !== "string" || typeof started !== "string" || typeof media !== "string") return undefined;
  return {
    id,
    line,
    caller: typeof caller === "string" ? caller : undefined,
    started: Date.parse(started),
    ended: typeof ended === "string" ? Date.parse(ended) : undefined,
    bytes: typeof bytes === "number" ? bytes : 0,
    end: typeof end === "string" ? end : "",
    inProgress: in_progress === true,
    media,
    poster: typeof poster === "string" ? poster : undefined,
  };
}

/** What of a list is seen: addresses have another ticket each time. */
function seen(list: Recording[]): string {
  return JSON.stringify([playing, list.map(({ id, ended, end, poster }) => [id, ended, end, poster !== undefined])]);
}

function draw(list: Recording[]): void {
  const target = element("recordings");
  // Rebuilt only when something changed, so that the focus stays where it is and no poster is fetched twice.
  if (target.dataset["drawn"] === seen(list)) return;
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["recording"] : undefined;
  target.dataset["drawn"] = seen(list);
  target.replaceChildren(...list.map(item));
  if (focused !== undefined) target.querySelector<HTMLElement>(`[data-recording="${CSS.escape(focused)}"]`)?.focus();
}

function item(recording: Recording): HTMLLIElement {
  const part = (className: string, text: string): HTMLSpanElement => {
    const span = document.createElement("span");
    span.className = className;
    span.textContent = text;
    return span;
  };
  const button = document.createElement("button");
  button.type = "button";
  button.dataset["recording"] = recording.id;
  if (recording.id === playing) button.setAttribute("aria-current", "true");
  const frame = part("frame", "");
  if (recording.poster !== undefined) {
    const poster = document.createElement("img");
    poster.alt = "";
    poster.loading = "lazy";
    poster.src = recording.poster;
    // Until it is made, and where there is sound alone.
    poster.addEventListener("error", () => poster.remove());
    frame.append(poster);
  }
  const badge = recording.inProgress ? part("badge", "In progress") : part("length", length(recording));
  button.append(frame, part("name", recording.line), part("about", about(recording)), badge);
  button.addEventListener("click", () => play(recording.id));
  const element_ = document.createElement("li");
  element_.append(button);
  return element_;
}

function about(recording: Recording): string {
  const when = new Date(recording.started).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const who = recording.caller === undefined ? "no call" : short(recording.caller);
  const stopped = recording.end.startsWith("stopped:") || recording.end === "recovered" ? `, ${recording.end}` : "";
  return `${when}, ${who}${stopped}`;
}

function length(recording: Recording): string {
  const seconds = Math.max(0, Math.round(((recording.ended ?? recording.started) - recording.started) / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (number: number): string => String(number).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

function play(id: string | undefined): void {
  const recording = recordings.find((one) => one.id === id);
  playing = recording?.id;
  element("player-box").hidden = recording === undefined;
  show("player-trouble", undefined);
  if (recording === undefined) {
    player.removeAttribute("src");
    player.load();
  } else {
    player.src = recording.media;
    player.setAttribute("aria-label", `Recording of ${recording.line}`);
    // A browser that wants a press of its own play button has one in the controls.
    void player.play().catch(() => undefined);
    element("player-box").scrollIntoView({ block: "nearest" });
  }
  draw(recordings);
}

player.addEventListener("error", () => {
  if (playing !== undefined) show("player-trouble", "This browser cannot play it. `callgate recordings` on the gateway's machine says where the file is.");
});
