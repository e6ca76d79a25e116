// The page: reads what to call, shows the call, and says what went wrong.

import * as nip19 from "nostr-tools/nip19";
import { placeCall, takeCall, type Call, type CallOptions, type CallReport, type CallState } from "./call.ts";
import { calledName, noteCalled, wasCalled } from "./called.ts";
import { element, short, show } from "./dom.ts";
import { openKeys } from "./keys.ts";
import { drawLines } from "./linelist.ts";
import { fetchLines, type Line } from "./lines.ts";
import { checkBrowser, openMicrophone, type Statistics } from "./peer.ts";
import type { Ring } from "./phone.ts";
import { openRecordings, type Recording } from "./recordings.ts";
import type { Dialect } from "./post.ts";
import { readFragment, readLine, readTarget, takeLinkKey, type Fragment } from "./target.ts";
import { troubleOf, type Trouble } from "./trouble.ts";
import { openWaiting } from "./waiting.ts";

type State = "idle" | "ringing" | CallState;

/** What the page knows, for whoever drives it: tests, and curious people at the console. */
interface Window_ {
  state: State;
  session: string | undefined;
  me: string;
  lines: Line[] | undefined;
  recordings: Recording[] | undefined;
  stats: Statistics | undefined;
  error: { code: string; title: string; words: string } | undefined;
  notice: string | undefined;
  /** Whether calls are waited for, and what rings. */
  waiting: boolean;
  ring: { session: string; npub: string; name: string } | undefined;
  /** How the other side of the call speaks. */
  dialect: Dialect | undefined;
  /** Offers that went out in this call to bring the connection back. */
  restarts: number;
}

const known: Window_ = {
  state: "idle",
  session: undefined,
  me: "",
  lines: undefined,
  recordings: undefined,
  stats: undefined,
  error: undefined,
  notice: undefined,
  waiting: false,
  ring: undefined,
  dialect: undefined,
  restarts: 0,
};
(window as unknown as { callgate: Window_ }).callgate = known;

const npub = element<HTMLInputElement>("npub");
const relays = element<HTMLTextAreaElement>("relays");
const video = element<HTMLVideoElement>("video");
const stage = element("stage");
const micButton = element<HTMLButtonElement>("mic");
const muteButton = element<HTMLButtonElement>("mute");

let fragment: Fragment;
let name: string | undefined;
let talk: boolean | undefined;
let call: Call | undefined;
/** The other side of a call that rings, or was answered here; undefined when this side called. */
let caller: { name: string; npub: string } | undefined;
/** Whether the other side takes the voice; undefined until the call says so. */
let voiceTaken: boolean | undefined;
/** The microphone, when it was turned on before the call. */
let microphone: MediaStreamTrack | undefined;
let liveSince = 0;
/** Sessions of this page: an offer in one of them is no new call. */
const sessions = new Set<string>();

const LINES_EVERY_MS = 5000;

// ---- trouble and notices

function showTrouble(trouble: Trouble | undefined): void {
  known.error = trouble === undefined ? undefined : { code: trouble.code, title: trouble.title, words: trouble.words };
  const field = trouble?.code === "bad-npub" ? "npub" : trouble?.code === "bad-relay" || trouble?.code === "no-relay" ? "relays" : undefined;
  for (const id of ["npub", "relays"]) {
    const at = id === field;
    element(id).setAttribute("aria-invalid", String(at));
    show(`${id}-trouble`, at ? trouble?.words : undefined);
  }
  const box = element("trouble");
  element("trouble-title").textContent = trouble?.title ?? "";
  element("trouble-words").textContent = trouble?.words ?? "";
  box.hidden = trouble === undefined;
  if (field !== undefined) {
    element(field).focus();
    element(`${field}-trouble`).scrollIntoView({ block: "nearest" });
  } else if (trouble !== undefined) box.scrollIntoView({ block: "nearest" });
}

function showNotice(words: string | undefined): void {
  if (known.notice === words) return;
  known.notice = words;
  show("notice", words);
}

// ---- the call's state

const STATE_WORDS: Record<State, string> = { idle: "Ready", ringing: "Ringing", calling: "Calling", connecting: "Connecting", live: "Live", ended: "Ended" };
const OPTIONAL_CONTROLS = "#form input, #form textarea, #lines button, #source input, #use-key, #new-key";

function enter(state: State): void {
  known.state = state;
  const busy = state === "calling" || state === "connecting" || state === "live";
  const rings = state === "ringing";
  stage.dataset["state"] = state;
  showPicture();
  element("state").dataset["state"] = state;
  element("state").textContent = state === "idle" && known.waiting ? "Waiting for calls" : STATE_WORDS[state];
  element("status").textContent = state === "idle" || rings ? "" : `${STATE_WORDS[state]} ${otherName()}`;
  element("call").hidden = busy || rings;
  element("hangup").hidden = !busy;
  for (const id of ["answer", "refuse"]) element(id).hidden = !rings;
  for (const button of [muteButton, micButton]) button.hidden = rings;
  for (const control of document.querySelectorAll<HTMLInputElement | HTMLButtonElement>(OPTIONAL_CONTROLS)) control.disabled = busy;
  element("fullscreen").hidden = state !== "live" || !canFullscreen();
  if (state === "live") liveSince = Date.now();
  if (!busy) {
    known.stats = undefined;
    show("stats", undefined);
    showNotice(undefined);
    if (document.fullscreenElement !== null) void document.exitFullscreen().catch(() => {});
  }
  if (state === "live") show("stats", signature());
  describe();
  // How many call it has just changed.
  if (known.lines !== undefined && (state === "live" || state === "ended")) {
    void fetchLines().then((lines) => {
      if (lines !== undefined) showLines(lines);
    });
  }
}

/** The chosen line's name. */
function lineName(): string {
  if (name !== undefined && name !== "") return name;
  try {
    return short(nip19.npubEncode(readLine(npub.value).pubkey));
  } catch {
    return "";
  }
}

/** Whom the page is about: who calls, else the chosen line. */
function otherName(): string {
  return caller?.name ?? lineName();
}

/** The other side's name, with the key of one whose name is its own word. */
function signature(): string {
  return caller === undefined ? lineName() : `${caller.name} · ${short(caller.npub)}`;
}

/** What stands on the stage while there is no picture. */
function describe(): void {
  const hints: Record<State, string> = {
    idle: lineName() === "" ? "Choose a line, or enter its npub." : `${keys.invited() ? "You are invited. " : ""}Press Call to see and hear it.`,
    ringing: "is calling you",
    calling: "Ringing…",
    connecting: caller === undefined ? "It answered. Waiting for the picture…" : "Connecting…",
    live: "Sound only",
    ended: known.error === undefined ? "The call is over." : "",
  };
  element("who").textContent = otherName() === "" ? "No line chosen" : otherName();
  element("hint").textContent = hints[known.state];
  // A name can be anyone's; the key can't.
  show("who-npub", caller?.npub);
  document.title = otherName() === "" ? "callgate" : `${otherName()} · callgate`;
  for (const button of document.querySelectorAll<HTMLElement>("#lines button")) {
    button.setAttribute("aria-current", String(button.dataset["npub"] === npub.value.trim()));
  }
  const taken = call === undefined ? talk : (voiceTaken ?? (caller === undefined ? talk : undefined));
  micButton.disabled = taken === false;
  micButton.title = taken === false ? "This line does not take your voice" : "";
  setMicrophoneShown(micButton.getAttribute("aria-pressed") === "true");
}

/** The picture takes the stage once there is one: a call may begin with sound alone. */
function showPicture(): void {
  stage.toggleAttribute("data-picture", video.videoWidth > 0 && video.srcObject !== null);
}

function showStatistics(statistics: Statistics): void {
  known.stats = statistics;
  showPicture();
  const seconds = Math.floor((Date.now() - liveSince) / 1000);
  const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  if (known.state !== "live") return;
  element("state").textContent = `Live ${clock}`;
  const rate = statistics.kbitPerSecond >= 1000 ? `${(statistics.kbitPerSecond / 1000).toFixed(1)} Mbit/s` : `${Math.round(statistics.kbitPerSecond)} kbit/s`;
  const picture = statistics.width > 0 ? `${statistics.width}×${statistics.height} · ${Math.round(statistics.fps)} fps · ` : "";
  show("stats", `${signature()} · ${picture}${rate}`);
}

// ---- placing it, or answering

let placing = false;

function report(): CallReport {
  return {
    state: enter,
    notice: showNotice,
    statistics: showStatistics,
    voice(taken) {
      const first = voiceTaken === undefined;
      voiceTaken = taken;
      if (!taken) setMicrophoneShown(false);
      describe();
      // Who answers a call talks; who looks at a camera asks for it first.
      if (taken && first && caller !== undefined && micButton.getAttribute("aria-pressed") !== "true") void toggleMicrophone();
    },
    dialect: (dialect) => (known.dialect = dialect),
    restarted: () => known.restarts++,
    soundBlocked() {
      setMutedShown(true);
      showNotice("The browser holds the sound back. Press Unmute to hear the line.");
    },
    ended(trouble) {
      call = undefined;
      caller = undefined;
      microphone = undefined;
      setMicrophoneShown(false);
      element("call").focus({ preventScroll: true });
      showTrouble(trouble);
      describe();
    },
  };
}

function options(): CallOptions {
  return { iceServers: fragment.iceServers, wait: fragment.wait, microphone };
}

function begin(start: () => Call): void {
  showTrouble(undefined);
  voiceTaken = undefined;
  known.dialect = undefined;
  known.restarts = 0;
  call = start();
  known.session = call.session;
  sessions.add(call.session);
  describe();
  element("hangup").focus({ preventScroll: true });
  stage.scrollIntoView({ block: "nearest" });
}

async function start(): Promise<void> {
  if (call !== undefined || placing || known.state === "ringing") return;
  showTrouble(undefined);
  placing = true;
  try {
    const target = readTarget(npub.value, [relays.value], name, talk);
    await keys.settle();
    begin(() => placeCall(target, keys.post, video, options(), report()));
    // Of a one-time key's call nothing is kept.
    if (keys.post.signer.source !== "link") noteCalled(target.pubkey, name);
  } catch (thrown) {
    showTrouble(troubleOf(thrown));
    describe();
  } finally {
    placing = false;
  }
}

function answer(): void {
  try {
    checkBrowser();
  } catch (thrown) {
    refuse();
    showTrouble(troubleOf(thrown));
    return;
  }
  const ring = waiting.answer();
  if (ring === undefined) return;
  known.ring = undefined;
  begin(() => takeCall(ring, keys.post, video, options(), report()));
}

function refuse(): void {
  waiting.refuse();
  notRinging();
}

function notRinging(): void {
  known.ring = undefined;
  caller = undefined;
  enter("idle");
}

// ---- being called

function callerName({ session, name: said }: Ring): string {
  const listed = known.lines?.find((line) => readLine(line.npub).pubkey === session.peer)?.name;
  const chosen = isChosen(session.peer) ? name : undefined;
  return said ?? chosen ?? listed ?? calledName(session.peer) ?? short(nip19.npubEncode(session.peer));
}

function isChosen(pubkey: string): boolean {
  try {
    return readLine(npub.value).pubkey === pubkey;
  } catch {
    return false;
  }
}

const waiting = openWaiting({
  post: () => keys.post,
  settle: () => keys.settle(),
  relays: () => [relays.value, ...(known.lines?.flatMap((line) => line.relays) ?? [])],
  mayRing: (pubkey) => isChosen(pubkey) || wasCalled(pubkey) || known.lines?.some((line) => line.npub === nip19.npubEncode(pubkey)) === true,
  ours: (session) => sessions.has(session),
  busy: () => call !== undefined || placing,
  nameOf: callerName,
  changed(on) {
    known.waiting = on;
    if (known.state === "idle") enter("idle");
  },
  ringing(ring) {
    const npub = nip19.npubEncode(ring.session.peer);
    caller = { name: callerName(ring), npub };
    known.ring = { session: ring.session.id, ...caller };
    showTrouble(undefined);
    enter("ringing");
    stage.scrollIntoView({ block: "nearest" });
    return caller.name;
  },
  named(profileName) {
    if (caller === undefined || known.ring === undefined) return;
    caller.name = known.ring.name = profileName;
    describe();
  },
  stopped(words) {
    notRinging();
    showNotice(words);
  },
  trouble: showTrouble,
});

// ---- sound, microphone, full screen

function setMutedShown(muted: boolean): void {
  muteButton.setAttribute("aria-pressed", String(muted));
  element("mute-icon").setAttribute("href", muted ? "#i-muted" : "#i-sound");
  element("mute-label").textContent = muted ? "Unmute" : "Mute";
}

function setMicrophoneShown(on: boolean): void {
  micButton.setAttribute("aria-pressed", String(on));
  element("mic-icon").setAttribute("href", on ? "#i-mic" : "#i-mic-off");
  element("mic-label").textContent = micButton.disabled ? "Listen only" : on ? "Talking" : "Talk";
}

async function toggleMicrophone(): Promise<void> {
  const on = micButton.getAttribute("aria-pressed") !== "true";
  try {
    if (call !== undefined) await call.setMicrophone(on);
    else if (on) microphone = await openMicrophone();
    else {
      microphone?.stop();
      microphone = undefined;
    }
    setMicrophoneShown(on);
    if (known.error?.code.startsWith("microphone") === true) showTrouble(undefined);
  } catch (thrown) {
    setMicrophoneShown(false);
    showTrouble(troubleOf(thrown));
  }
}

// iPhones let only the video element itself fill the screen.
type OldVideo = HTMLVideoElement & { webkitEnterFullscreen?: () => void };

function canFullscreen(): boolean {
  return document.fullscreenEnabled === true || (video as OldVideo).webkitEnterFullscreen !== undefined;
}

function toggleFullscreen(): void {
  if (document.fullscreenElement !== null) void document.exitFullscreen().catch(() => {});
  else if (document.fullscreenEnabled) void stage.requestFullscreen().catch(() => {});
  else (video as OldVideo).webkitEnterFullscreen?.();
}

// ---- who calls

const keys = openKeys(() => {
  known.me = keys.npub;
  waiting.renewed();
}, showTrouble);

// ---- lines of the callgate that serves this page

function showLines(lines: Line[]): void {
  known.lines = lines;
  if (!drawLines(lines, call !== undefined, choose)) return;
  const chosen = lines.find((line) => line.npub === npub.value.trim());
  if (chosen !== undefined) talk = chosen.talk;
  describe();
}

function choose(line: Line): void {
  npub.value = line.npub;
  relays.value = line.relays.join("\n");
  name = line.name;
  talk = line.talk;
  describe();
  void start();
}

async function refreshLines(): Promise<void> {
  const lines = await fetchLines();
  if (lines === undefined) return;
  showLines(lines);
  setTimeout(() => void refreshLines(), LINES_EVERY_MS);
}

// ---- at the start

function applyFragment(): void {
  const linkKey = takeLinkKey();
  fragment = readFragment(location.hash);
  if (call !== undefined) return;
  npub.value = fragment.npub;
  relays.value = fragment.relays.join("\n");
  name = fragment.name;
  talk = fragment.talk ?? known.lines?.find((line) => line.npub === fragment.npub)?.talk;
  showTrouble(undefined);
  keys.begin(linkKey);
  describe();
}

applyFragment();
enter("idle");
void refreshLines().then(() => waiting.resume());
openRecordings((recordings) => {
  known.recordings = recordings;
});

window.addEventListener("hashchange", applyFragment);
window.addEventListener("pagehide", () => call?.hangUp());
element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  void start();
});
npub.addEventListener("input", () => {
  // Another line than the one that the name and the talk belong to.
  name = undefined;
  talk = known.lines?.find((line) => line.npub === npub.value.trim())?.talk;
  describe();
});
relays.addEventListener("change", () => waiting.renewed());
relays.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    void start();
  }
});
element("call").addEventListener("click", () => void start());
element("hangup").addEventListener("click", () => call?.hangUp());
element("answer").addEventListener("click", answer);
element("refuse").addEventListener("click", refuse);
element("fullscreen").addEventListener("click", toggleFullscreen);
for (const type of ["loadeddata", "resize"]) video.addEventListener(type, showPicture);
stage.addEventListener("dblclick", () => {
  if (known.state === "live" && canFullscreen()) toggleFullscreen();
});
muteButton.addEventListener("click", () => {
  video.muted = !video.muted;
  setMutedShown(video.muted);
  if (!video.muted) showNotice(undefined);
});
micButton.addEventListener("click", () => void toggleMicrophone());
