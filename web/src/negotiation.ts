// Offers and answers on one connection: the first, and every later one. When both sides offer at once, one side gives way.

export interface Negotiation {
  /** Offers what the connection has now. The candidates gathered in a bounded time are in it. */
  offer(): Promise<string>;
  /**
   * Offers an ICE restart. What it says comes into force with its answer: a browser checks as soon as it has an address, and would do so with
   * the other side's credentials of before. When such a check is answered, Chromium makes none with the new ones to the same address.
   * Its candidates are all late ones.
   */
  restart(): Promise<string>;
  /** Answers the other side's offer; undefined when an offer of ours is under way and goes first. */
  answer(sdp: string, prepare?: () => void): Promise<string | undefined>;
  /** Takes an answer; false when none is waited for. */
  take(sdp: string): Promise<boolean>;
  /** The other side refuses our offer. */
  refused(): void;
  /** A candidate of the other side; kept until there is a description that it belongs to. */
  candidate(candidate: RTCIceCandidateInit): Promise<void>;
  /** Our offer that waits for its answer. */
  unanswered(): string | undefined;
}

// Candidates belong into the description: a relay drops all but one candidate event of a second. Host candidates take
// milliseconds; a STUN or TURN server that is slower than this is not waited for.
const GATHERING_CAP_MS = 1000;
// Who has not answered a restart by then will not, and may offer one.
const UNANSWERED_MS = 30_000;

/** `late` gets the candidates that come after their description went out. The side that gives way is `polite`. */
export function negotiate(pc: RTCPeerConnection, polite: boolean, late: (candidate: RTCIceCandidate) => void): Negotiation {
  const early: RTCIceCandidateInit[] = [];
  let gathering = false;
  let restart: { sdp: string; since: number } | undefined;
  let last: Promise<unknown> = Promise.resolve();

  pc.addEventListener("icecandidate", ({ candidate }) => {
    // Whoever can be reached over TCP needs not be told who dials.
    const dials = candidate?.tcpType === "active";
    if (!gathering && !dials && candidate !== null && candidate.candidate !== "") late(candidate);
  });

  /** One exchange of descriptions after the other. */
  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = last.then(act);
    last = done.catch(() => {});
    return done;
  }

  async function describe(description: RTCSessionDescriptionInit): Promise<string> {
    const before = credentials(pc.localDescription?.sdp);
    gathering = true;
    try {
      const gathered = new Promise<void>((resolve) => {
        setTimeout(resolve, GATHERING_CAP_MS);
        pc.addEventListener("icecandidate", function end({ candidate }) {
          if (candidate !== null) return;
          pc.removeEventListener("icecandidate", end);
          resolve();
        });
      });
      await pc.setLocalDescription(description);
      // Without new credentials nothing is gathered anew.
      if (credentials(pc.localDescription?.sdp) !== before) await gathered;
    } finally {
      gathering = false;
    }
    return pc.localDescription?.sdp ?? "";
  }

  function restarting(): string | undefined {
    return restart !== undefined && performance.now() - restart.since < UNANSWERED_MS ? restart.sdp : undefined;
  }

  async function takeEarly(): Promise<void> {
    for (const candidate of early.splice(0)) await add(candidate);
  }

  // A candidate that the browser can't read is the other side's loss, not the call's end.
  const add = (candidate: RTCIceCandidateInit): Promise<void> => pc.addIceCandidate(candidate).catch(() => {});

  return {
    offer: () => inTurn(async () => describe(await pc.createOffer())),
    restart: () =>
      inTurn(async () => {
        const { sdp = "" } = await pc.createOffer({ iceRestart: true });
        restart = { sdp, since: performance.now() };
        return sdp;
      }),
    answer: (sdp, prepare) =>
      inTurn(async () => {
        if ((pc.signalingState === "have-local-offer" || restarting() !== undefined) && !polite) return undefined;
        restart = undefined;
        await pc.setRemoteDescription({ type: "offer", sdp });
        await takeEarly();
        prepare?.();
        return describe(await pc.createAnswer());
      }),
    take: (sdp) =>
      inTurn(async () => {
        const offered = restarting();
        restart = undefined;
        if (offered !== undefined) await pc.setLocalDescription({ type: "offer", sdp: offered });
        if (pc.signalingState !== "have-local-offer") return false;
        await pc.setRemoteDescription({ type: "answer", sdp });
        await takeEarly();
        return true;
      }),
    refused() {
      restart = undefined;
    },
    async candidate(candidate) {
      if (pc.remoteDescription === null) early.push(candidate);
      else await add(candidate);
    },
    unanswered: () => restarting() ?? (pc.signalingState === "have-local-offer" ? pc.localDescription?.sdp : undefined),
  };
}

/** The ICE user fragment: it changes with an ICE restart. */
function credentials(sdp: string | undefined): string | undefined {
  return sdp === undefined ? undefined : /^a=ice-ufrag:(.*)$/m.exec(sdp)?.[1];
}
