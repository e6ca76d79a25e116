// Keeps a call up when its path is lost: new connections to the relays, and ICE restarts, until the path is back or patience ends.

export interface Recovery {
  /** Whether the path is lost, as far as is known. */
  lost(): boolean;
  stop(): void;
}

export interface Rescue {
  /** Whether there is a call to keep up. */
  live(): boolean;
  /** Sends the other side a new offer; `fresh` when one that waits for its answer is of no use any more. */
  restart(fresh: boolean): Promise<void>;
  lost(): void;
  back(): void;
  gaveUp(): void;
}

// A browser says "disconnected" 7 s after a path went dead, and is right then: there is nothing to wait for but a blink.
const SHAKY_MS = 400;
// Long before, it is known from this: nothing comes at all, and a check that it sent has no answer.
const LOOK_EVERY_MS = 250;
const SILENT_MS = 1500;
// For a check to be answered, besides twice the time that it took so far.
const UNANSWERED_MS = 300;
// An answer takes a moment, and a relay may lose an offer. Where everything is slow each attempt has longer than the one before: a new one
// throws away what the last one has come to.
const AGAIN_MS = 3000;
const LONGER = 1.5;
const AGAIN_AT_MOST_MS = 10_000;
// Who is gone for longer has left: the other side has given up too.
const PATIENCE_MS = 45_000;

type Network = EventTarget & { type?: string };

export function keepUp(pc: RTCPeerConnection, rescue: Rescue): Recovery {
  const network = (navigator as { connection?: Network }).connection;
  let networkType = network?.type;
  let since: number | undefined;
  let silent = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attemptedAt = Number.NEGATIVE_INFINITY;
  let pause = AGAIN_MS;

  function look(): void {
    if (pc.connectionState === "connected" && !silent) {
      clearTimeout(timer);
      if (since !== undefined) rescue.back();
      since = undefined;
    } else if (since === undefined && rescue.live()) {
      if (pc.connectionState === "disconnected" && !silent) wait(SHAKY_MS, () => begin(false));
      else begin(false);
    }
  }

  function wait(ms: number, act: () => void): void {
    clearTimeout(timer);
    timer = setTimeout(act, ms);
  }

  function begin(fresh: boolean): void {
    if (since === undefined) {
      since = performance.now();
      rescue.lost();
      const left = attemptedAt + pause - since;
      // The path that was found is lost again at once, or was none: the attempt that found it is not over.
      if (!fresh && left > 0) wait(left, () => attempt(false));
      else attempt(fresh);
    } else if (fresh) attempt(true);
  }

  function attempt(fresh: boolean): void {
    if (!rescue.live()) return;
    if (since !== undefined && performance.now() - since > PATIENCE_MS) return rescue.gaveUp();
    const now = performance.now();
    pause = now - attemptedAt > 2 * AGAIN_AT_MOST_MS ? AGAIN_MS : Math.min(pause * LONGER, AGAIN_AT_MOST_MS);
    attemptedAt = now;
    // One that could not be sent is followed by the next.
    rescue.restart(fresh).catch(() => {});
    wait(pause, () => {
      if (pc.connectionState === "connected" && !silent) return;
      if (since === undefined) begin(false);
      else attempt(false);
    });
  }

  /** The network is another: what the path was is of no use, also when nothing has noticed yet. */
  function changed(): void {
    if (!rescue.live()) return;
    if (pc.connectionState === "connected" && !silent) attempt(true);
    else begin(true);
  }

  function retyped(): void {
    // Browsers tell each estimate of the speed too.
    if (network?.type === networkType) return;
    networkType = network?.type;
    changed();
  }

  const silence = silenceDetector(pc, (now) => {
    silent = now;
    look();
  });
  pc.addEventListener("connectionstatechange", look);
  window.addEventListener("online", changed);
  network?.addEventListener("change", retyped);
  return {
    lost: () => since !== undefined,
    stop() {
      clearTimeout(timer);
      clearInterval(silence);
      pc.removeEventListener("connectionstatechange", look);
      window.removeEventListener("online", changed);
      network?.removeEventListener("change", retyped);
    },
  };
}

/** Tells when the path falls silent, and when something is heard again. A camera that stands still is no silence: checks are answered. */
function silenceDetector(pc: RTCPeerConnection, tell: (silent: boolean) => void): ReturnType<typeof setInterval> {
  let path = "";
  let heard = -1;
  let asked = 0;
  let heardAt = 0;
  let askedAt: number | undefined;
  let silent = false;

  return setInterval(() => {
    if (pc.connectionState !== "connected") return;
    void pc.getStats().then((report) => {
      const pair = selectedPair(report);
      if (pair === undefined) return;
      const now = performance.now();
      const hears = (pair.bytesReceived ?? 0) + (pair.responsesReceived ?? 0) + (pair.requestsReceived ?? 0);
      const asks = pair.requestsSent ?? 0;
      if (pair.id !== path || hears !== heard) {
        path = pair.id;
        heard = hears;
        asked = asks;
        heardAt = now;
        askedAt = undefined;
      } else if (asks > asked) askedAt ??= now;
      const quiet = now - heardAt >= SILENT_MS && askedAt !== undefined && now - askedAt >= UNANSWERED_MS + (pair.currentRoundTripTime ?? 0) * 2000;
      if (quiet === silent) return;
      silent = quiet;
      tell(silent);
    });
  }, LOOK_EVERY_MS);
}

type Pair = RTCIceCandidatePairStats & { id: string; selected?: boolean };

/** The pair of addresses that media goes over. */
function selectedPair(report: RTCStatsReport): Pair | undefined {
  let byTransport: Pair | undefined;
  let bySelf: Pair | undefined;
  report.forEach((entry: { type: string; selectedCandidatePairId?: string; selected?: boolean }) => {
    if (entry.type === "transport" && entry.selectedCandidatePairId !== undefined) byTransport = report.get(entry.selectedCandidatePairId) as Pair | undefined;
    // Firefox marks the pair itself.
    if (entry.type === "candidate-pair" && entry.selected === true) bySelf = entry as Pair;
  });
  return byTransport ?? bySelf;
}
