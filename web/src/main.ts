// The page: reads what to call, shows the call, and says what went wrong.

import * as nip19 from "nostr-tools/nip19";
import { placeCall, type Call, type CallState } from "./call.ts";
import { extension, extensionSigner, keep, keySigner, newSecret, readSecret, recall, replaceSecret, storedSecret, type Signer } from "./identity.ts";
import { fetchLines, type Line } from "./lines.ts";
import { openMicrophone, type Statistics } from "./peer.ts";
import { readFragment, readLine, readTarget, type Fragment } from "./target.ts";
import { Trouble, troubleOf } from "./trouble.ts";

type State = "idle" | CallState;

/** What the page knows, for whoever drives it: tests, and curious people at the console. */
interface Window_ {
  state: State;
  session: string | undefined;
  me: string;
  lines: Line[] | undefined;
  stats: Statistics | undefined;
  error: { code: string; title: string; words: string } | undefined;
  notice: string | undefined;
}

const known: Window_ = { state: "idle", session: undefined, me: "", lines: undefined, stats: undefined, error: undefined, notice: undefined };
(window as unknown as { callgate: Window_ }).callgate = known;

function element<T extends Element = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`no #${id}`);
  return found as unknown as T;
}

const npub = element<HTMLInputElement>("npub");
const relays = element<HTMLTextAreaElement>("relays");
const video = element<HTMLVideoElement>("video");
const stage = element("stage");
const micButton = element<HTMLButtonElement>("mic");
const muteButton = element<HTMLButtonElement>("mute");

let fragment: Fragment;
let name: string | undefined;
let talk: boolean | undefined;
let signer: Signer;
let call: Call | undefined;
/** Whether the called line takes the voice; undefined until its answer says so. */
let voiceTaken: boolean | undefined;
/** The microphone, when it was turned on before the call. */
let microphone: MediaStreamTrack | undefined;
let liveSince = 0;

const SOURCE = "callgate.source";
// Extensions put themselves into the page a moment after it is loaded.
const EXTENSION_LOOKS_MS = [0, 300, 1000, 3000];
const LINES_EVERY_MS = 5000;

function short(key: string): string {
  return `${key.slice(0, 12)}…${key.slice(-6)}`;
}

function show(id: string, text: string | undefined): void {
  const target = element(id);
  const hidden = text === undefined || text === "";
  if (target.hidden !== hidden) target.hidden = hidden;
  if (target.textContent !== (text ?? "")) target.textContent = text ?? "";
}

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

const STATE_WORDS: Record<State, string> = { idle: "Ready", calling: "Calling", connecting: "Connecting", live: "Live", ended: "Ended" };

function enter(state: State): void {
  known.state = state;
  const busy = state === "calling" || state === "connecting" || state === "live";
  stage.dataset["state"] = state;
  element("state").dataset["state"] = state;
  element("state").textContent = STATE_WORDS[state];
  element("status").textContent = state === "idle" ? "" : `${STATE_WORDS[state]} ${lineName()}`;
  element("call").hidden = busy;
  element("hangup").hidden = !busy;
  for (const control of document.querySelectorAll<HTMLInputElement | HTMLButtonElement>("#form input, #form textarea, #lines button, #source input, #use-key, #new-key")) {
    control.disabled = busy;
  }
  element("fullscreen").hidden = state !== "live" || !canFullscreen();
  if (state === "live") liveSince = Date.now();
  if (!busy) {
    known.stats = undefined;
    show("stats", undefined);
    showNotice(undefined);
    if (document.fullscreenElement !== null) void document.exitFullscreen().catch(() => {});
  }
  if (state === "live") show("stats", lineName());
  describe();
  // How many call it has just changed.
  if (known.lines !== undefined && (state === "live" || state === "ended")) {
    void fetchLines().then((lines) => {
      if (lines !== undefined) showLines(lines);
    });
  }
}

function lineName(): string {
  if (name !== undefined && name !== "") return name;
  try {
    return short(nip19.npubEncode(readLine(npub.value).pubkey));
  } catch {
    return "";
  }
}

/** What stands on the stage while there is no picture. */
function describe(): void {
  const hints: Record<State, string> = {
    idle: lineName() === "" ? "Choose a line, or enter its npub." : "Press Call to see and hear it.",
    calling: "Ringing…",
    connecting: "It answered. Waiting for the picture…",
    live: "",
    ended: known.error === undefined ? "The call is over." : "",
  };
  element("who").textContent = lineName() === "" ? "No line chosen" : lineName();
  element("hint").textContent = hints[known.state];
  document.title = lineName() === "" ? "callgate" : `${lineName()} · callgate`;
  for (const button of document.querySelectorAll<HTMLElement>("#lines button")) {
    button.setAttribute("aria-current", String(button.dataset["npub"] === npub.value.trim()));
  }
  const taken = call === undefined ? talk : (voiceTaken ?? talk);
  micButton.disabled = taken === false;
  micButton.title = taken === false ? "This line does not take your voice" : "";
  setMicrophoneShown(micButton.getAttribute("aria-pressed") === "true");
}

function showStatistics(statistics: Statistics): void {
  known.stats = statistics;
  const seconds = Math.floor((Date.now() - liveSince) / 1000);
  const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  if (known.state !== "live") return;
  element("state").textContent = `Live ${clock}`;
  const rate = statistics.kbitPerSecond >= 1000 ? `${(statistics.kbitPerSecond / 1000).toFixed(1)} Mbit/s` : `${Math.round(statistics.kbitPerSecond)} kbit/s`;
  const picture = statistics.width > 0 ? `${statistics.width}×${statistics.height} · ${Math.round(statistics.fps)} fps · ` : "";
  show("stats", `${lineName()} · ${picture}${rate}`);
}

// ---- placing it

let placing = false;

async function start(): Promise<void> {
  if (call !== undefined || placing) return;
  showTrouble(undefined);
  voiceTaken = undefined;
  placing = true;
  try {
    const target = readTarget(npub.value, [relays.value], name, talk);
    if (signer.source === "page" && chosenSource() === "extension") await useExtension();
    const used = signer;
    call = placeCall(target, used, video, { iceServers: fragment.iceServers, wait: fragment.wait, microphone }, {
      state: enter,
      notice: showNotice,
      statistics: showStatistics,
      voice(taken) {
        voiceTaken = taken;
        if (!taken) setMicrophoneShown(false);
        describe();
      },
      soundBlocked() {
        setMutedShown(true);
        showNotice("The browser holds the sound back. Press Unmute to hear the line.");
      },
      ended(trouble) {
        call = undefined;
        microphone = undefined;
        setMicrophoneShown(false);
        element("call").focus({ preventScroll: true });
        showTrouble(trouble);
        describe();
      },
    });
    known.session = call.session;
    describe();
    element("hangup").focus({ preventScroll: true });
    stage.scrollIntoView({ block: "nearest" });
  } catch (thrown) {
    showTrouble(troubleOf(thrown));
    describe();
  } finally {
    placing = false;
  }
}

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

function chosenSource(): string {
  return element<HTMLInputElement>("source-extension").checked ? "extension" : "page";
}

function useSigner(next: Signer): void {
  signer = next;
  known.me = nip19.npubEncode(next.pubkey);
  element("me").textContent = known.me;
  const notes: Record<Signer["source"], string> = {
    page: "This key is kept in this browser. Give it to the line's operator, who adds it to the line's list of callers.",
    extension: "This is your extension's key. The line's operator must have it on the line's list of callers.",
    link: "This key came with the link you opened, and is not kept.",
  };
  element("me-note").textContent = notes[next.source];
  element("other-key").hidden = next.source !== "page";
}

async function useExtension(): Promise<void> {
  try {
    useSigner(await extensionSigner());
  } catch (thrown) {
    element<HTMLInputElement>("source-page").checked = true;
    throw thrown;
  }
}

async function changeSource(): Promise<void> {
  const source = chosenSource();
  keep(SOURCE, source);
  if (source === "page") {
    useSigner(keySigner(storedSecret(), "page"));
    return;
  }
  try {
    await useExtension();
    showTrouble(undefined);
  } catch (thrown) {
    keep(SOURCE, "page");
    showTrouble(troubleOf(thrown));
  }
}

/** Offers the extension once it shows up; chooses it again if it was chosen at the last visit. */
function lookForExtension(): void {
  if (extension() === undefined || signer.source === "link" || !element("source").hidden) return;
  element("source").hidden = false;
  if (recall(SOURCE) === "extension") element<HTMLInputElement>("source-extension").checked = true;
}

function changeSecret(make: () => Uint8Array): void {
  try {
    useSigner(keySigner(make(), "page"));
    element<HTMLInputElement>("secret").value = "";
    element<HTMLDetailsElement>("other-key").open = false;
    show("secret-trouble", undefined);
    element("secret").removeAttribute("aria-invalid");
  } catch (thrown) {
    show("secret-trouble", troubleOf(thrown).words);
    element("secret").setAttribute("aria-invalid", "true");
    element("secret").focus();
  }
}

// ---- lines of the callgate that serves this page

const LINE_STATE: Record<Line["state"], string> = { idle: "Ready", opening: "Starting its camera", open: "On", reopening: "Its camera is away" };

function showLines(lines: Line[]): void {
  known.lines = lines;
  element("lines-card").hidden = lines.length === 0;
  const list = element("lines");
  // Rebuilt only when something changed, so that the focus stays where it is.
  const drawn = JSON.stringify(lines);
  if (list.dataset["drawn"] === drawn) return;
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["npub"] : undefined;
  list.dataset["drawn"] = drawn;
  list.replaceChildren(...lines.map(lineItem));
  if (focused !== undefined) list.querySelector<HTMLElement>(`[data-npub="${CSS.escape(focused)}"]`)?.focus();
  const chosen = lines.find((line) => line.npub === npub.value.trim());
  if (chosen !== undefined) talk = chosen.talk;
  describe();
}

function lineItem(line: Line): HTMLLIElement {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset["npub"] = line.npub;
  button.disabled = call !== undefined;
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", "#i-camera");
  icon.setAttribute("aria-hidden", "true");
  icon.append(use);
  const part = (className: string, text: string): HTMLSpanElement => {
    const span = document.createElement("span");
    span.className = className;
    span.textContent = text;
    return span;
  };
  const callers = line.callers === 0 ? "" : line.callers === 1 ? ", 1 caller" : `, ${line.callers} callers`;
  button.append(icon, part("name", line.name), part("about", LINE_STATE[line.state] + callers), part("press", "Call"));
  button.addEventListener("click", () => {
    npub.value = line.npub;
    relays.value = line.relays.join("\n");
    name = line.name;
    talk = line.talk;
    describe();
    void start();
  });
  item.append(button);
  return item;
}

async function refreshLines(): Promise<void> {
  const lines = await fetchLines();
  if (lines === undefined) return;
  showLines(lines);
  setTimeout(() => void refreshLines(), LINES_EVERY_MS);
}

// ---- at the start

function applyFragment(): void {
  fragment = readFragment(location.hash);
  if (call !== undefined) return;
  npub.value = fragment.npub;
  relays.value = fragment.relays.join("\n");
  name = fragment.name;
  talk = fragment.talk ?? known.lines?.find((line) => line.npub === fragment.npub)?.talk;
  showTrouble(undefined);
  try {
    useSigner(fragment.key === undefined ? keySigner(storedSecret(), "page") : keySigner(readSecret(fragment.key), "link"));
  } catch (thrown) {
    useSigner(keySigner(storedSecret(), "page"));
    showTrouble(new Trouble("bad-key", "The link's key can't be read", `${troubleOf(thrown).words} Your own key is used.`));
  }
  describe();
}

applyFragment();
enter("idle");
for (const ms of EXTENSION_LOOKS_MS) setTimeout(lookForExtension, ms);
void refreshLines();

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
relays.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    void start();
  }
});
element("call").addEventListener("click", () => void start());
element("hangup").addEventListener("click", () => call?.hangUp());
element("fullscreen").addEventListener("click", toggleFullscreen);
stage.addEventListener("dblclick", () => {
  if (known.state === "live" && canFullscreen()) toggleFullscreen();
});
muteButton.addEventListener("click", () => {
  video.muted = !video.muted;
  setMutedShown(video.muted);
  if (!video.muted) showNotice(undefined);
});
micButton.addEventListener("click", () => void toggleMicrophone());
element("copy").addEventListener("click", () => {
  const done = (label: string): void => {
    element("copy-label").textContent = label;
    setTimeout(() => (element("copy-label").textContent = "Copy"), 1500);
  };
  const select = (): void => {
    // The clipboard is for https pages; selected text can be copied by hand.
    getSelection()?.selectAllChildren(element("me"));
    done("Selected");
  };
  if (navigator.clipboard === undefined) select();
  else navigator.clipboard.writeText(known.me).then(() => done("Copied"), select);
});
for (const id of ["source-page", "source-extension"]) element(id).addEventListener("change", () => void changeSource());
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  changeSecret(() => replaceSecret(readSecret(element<HTMLInputElement>("secret").value)));
});
element("new-key").addEventListener("click", () => changeSecret(newSecret));
