// The bell: a sound made here, the page's title, and a phone's vibration.

// Soft and short, a falling third: it is heard often.
const CHIME_HZ = [880, 698];
const CHIME_EVERY_SECONDS = 2.5;
// As long as anything rings.
const CHIMES = 48;
const VIBRATION_MS = [300, 200, 300, 1700];
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
  let bell: GainNode | undefined;
  let titles: ReturnType<typeof setInterval> | undefined;

  /**
   * All chimes at once: timers of a page in the background may run once a minute, sound that is scheduled keeps its time.
   * Where the browser holds it back, it begins when the person lets it.
   */
  function chime(): void {
    if (context === undefined || bell !== undefined) return;
    bell = new GainNode(context);
    bell.connect(context.destination);
    for (let index = 0; index < CHIMES; index++) {
      for (const [note, frequency] of CHIME_HZ.entries()) strike(context, bell, frequency, context.currentTime + index * CHIME_EVERY_SECONDS + note * 0.35);
    }
  }

  return {
    allowSound() {
      context ??= new AudioContext();
      if (titles !== undefined) chime();
      if (context.state !== "running") context.resume().then(heard, () => {});
    },
    audible: () => context?.state === "running",
    ring(ringing) {
      this.stop();
      chime();
      navigator.vibrate?.(Array.from({ length: CHIMES }, () => VIBRATION_MS).flat());
      const title = document.title;
      document.title = ringing;
      titles = setInterval(() => (document.title = document.title === ringing ? title : ringing), TITLE_EVERY_MS);
    },
    stop() {
      if (titles === undefined) return;
      clearInterval(titles);
      titles = undefined;
      bell?.disconnect();
      bell = undefined;
      navigator.vibrate?.(0);
    },
  };
}

function strike(context: AudioContext, out: AudioNode, frequency: number, start: number): void {
  const tone = new OscillatorNode(context, { frequency });
  const gain = new GainNode(context, { gain: 0 });
  // An exponential ramp can't begin or end at 0.
  gain.gain.setValueAtTime(0.0001, start);
  gain.gain.exponentialRampToValueAtTime(0.25, start + 0.02);
  gain.gain.exponentialRampToValueAtTime(0.0001, start + 0.9);
  tone.connect(gain).connect(out);
  tone.start(start);
  tone.stop(start + 1);
}
