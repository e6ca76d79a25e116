// Keeps a call up when its path is lost: new connections to the relays, and ICE restarts, until the path is back or patience ends.

export interface Recovery {
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

// A path that is only shaky comes back by itself within this; the browser has waited some seconds before it said so.
const SHAKY_MS = 400;
// An answer takes a moment, and a relay may lose an offer.
const AGAIN_MS = 3000;
// Who is gone for longer has left: the other side has given up too.
const PATIENCE_MS = 45_000;

type Network = EventTarget & { type?: string };

export function keepUp(pc: RTCPeerConnection, rescue: Rescue): Recovery {
  const network = (navigator as { connection?: Network }).connection;
  let networkType = network?.type;
  let since: number | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function look(): void {
    switch (pc.connectionState) {
      case "connected":
        clearTimeout(timer);
        if (since !== undefined) rescue.back();
        since = undefined;
        break;
      case "disconnected":
        if (since === undefined && rescue.live()) wait(SHAKY_MS, () => begin(false));
        break;
      case "failed":
        if (rescue.live()) begin(false);
        break;
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
      attempt(fresh);
    } else if (fresh) attempt(true);
  }

  function attempt(fresh: boolean): void {
    if (!rescue.live()) return;
    if (since !== undefined && performance.now() - since > PATIENCE_MS) return rescue.gaveUp();
    // Said by the next attempt when this one could not be sent.
    rescue.restart(fresh).catch(() => {});
    wait(AGAIN_MS, () => {
      if (pc.connectionState === "connected") return;
      if (since === undefined) begin(false);
      else attempt(false);
    });
  }

  /** The network is another: what the path was is of no use, also when nothing has noticed yet. */
  function changed(): void {
    if (!rescue.live()) return;
    if (pc.connectionState === "connected") attempt(true);
    else begin(true);
  }
  function retyped(): void {
    // Browsers tell each estimate of the speed too.
    if (network?.type === networkType) return;
    networkType = network?.type;
    changed();
  }

  pc.addEventListener("connectionstatechange", look);
  window.addEventListener("online", changed);
  network?.addEventListener("change", retyped);
  return {
    stop() {
      clearTimeout(timer);
      pc.removeEventListener("connectionstatechange", look);
      window.removeEventListener("online", changed);
      network?.removeEventListener("change", retyped);
    },
  };
}
