// The bell: a sound made here, the page's title, and a phone's vibration.

// A European ring: 425 Hz, one second on, four off, is tiring on a desk; a soft double chime is not.
const CHIME_HZ = [880, 698];
const CHIME_EVERY_MS = 2500;
const TITLE_EVERY_MS = 1000;

export interface Ringer {
  /** To be called within a click or a key press: the browser then lets the bell sound later. */
  allowSound(): void;
  /** Whether the bell would be heard. */
  audible(): boolean;
  ring(title: string): void;
  stop(): void;
}

/** `heard` is called when the bell can be heard at last. */
export function openRinger(heard: () => void): Ringer {
  let context: AudioContext | undefined;
  let bell: ReturnType<typeof setInterval> | undefined;
  let titles: ReturnType<typeof setInterval> | undefined;
  let title = "";

  function chime(): void {
    navigator.vibrate?.([300, 200, 300]);
    if (context?.state !== "running") return;
    const now = context.currentTime;
    for (const [index, frequency] of CHIME_HZ.entries()) {
      const start = now + index * 0.35;
      const tone = new OscillatorNode(context, { frequency });
      const gain = new GainNode(context, { gain: 0 });
      gain.gain.setValueAtTime(0.0001, start);
      gain.gain.exponentialRampToValueAtTime(0.25, start + 0.02);
      gain.gain.exponentialRampToValueAtTime(0.0001, start + 0.9);
      tone.connect(gain).connect(context.destination);
      tone.start(start);
      tone.stop(start + 1);
    }
  }

  return {
    allowSound() {
      context ??= new AudioContext();
      if (context.state === "running") return;
      context.resume().then(heard, () => {});
    },
    audible: () => context?.state === "running",
    ring(ringing) {
      this.stop();
      title = document.title;
      chime();
      bell = setInterval(chime, CHIME_EVERY_MS);
      document.title = ringing;
      titles = setInterval(() => (document.title = document.title === ringing ? title : ringing), TITLE_EVERY_MS);
    },
    stop() {
      if (bell === undefined) return;
      clearInterval(bell);
      clearInterval(titles);
      bell = undefined;
      document.title = title;
      navigator.vibrate?.(0);
    },
  };
}
