// The card for being called: whether calls are waited for, by whom, and the bell.

import { element, show } from "./dom.ts";
import { keep, recall } from "./identity.ts";
import { openPhone, type Phone, type Ring } from "./phone.ts";
import type { Post } from "./post.ts";
import { host } from "./relays.ts";
import { openRinger } from "./ringer.ts";
import { readRelays } from "./target.ts";
import { Trouble, troubleOf } from "./trouble.ts";

export interface WaitingRules {
  post(): Post;
  /** Asks for the chosen key, if that takes asking. */
  settle(): Promise<void>;
  /** Where calls may come, as it was typed. */
  relays(): string[];
  /** Whether the person knows this line. */
  mayRing(pubkey: string): boolean;
  ours(session: string): boolean;
  busy(): boolean;
  nameOf(ring: Ring): string;
  changed(waiting: boolean): void;
  /** It rings; returns the name that is shown. */
  ringing(ring: Ring): string;
  /** A better name for who rings. */
  named(name: string): void;
  stopped(words: string | undefined): void;
  trouble(trouble: Trouble | undefined): void;
}

export interface Waiting {
  answer(): Ring | undefined;
  refuse(): void;
  /** Waits again where it was waited at the last visit. */
  resume(): void;
  /** Key or relays are others: who waits, waits with these. */
  renewed(): void;
}

const WAITS = "callgate.waits";
const ANYONE = "callgate.anyone";
const LOOK_EVERY_MS = 2000;

export function openWaiting(rules: WaitingRules): Waiting {
  const button = element<HTMLButtonElement>("wait");
  const anyone = element<HTMLInputElement>("anyone");
  let phone: Phone | undefined;
  let relays: string[] = [];
  const ringer = openRinger(describe);

  function start(): void {
    relays = readRelays(rules.relays());
    if (relays.length === 0) {
      throw new Trouble("no-relay", "No relay to be called through", "Enter the address of a relay that your lines use, such as wss://relay.example.com.");
    }
    phone = openPhone(
      rules.post(),
      relays,
      { mayRing: (pubkey) => anyone.checked || rules.mayRing(pubkey), ours: rules.ours, busy: rules.busy, nameOf: rules.nameOf },
      { ringing, stopped },
    );
  }

  function ringing(ring: Ring): void {
    ringer.ring(`☎ ${rules.ringing(ring)} is calling`);
    show("ring-alert", `${rules.nameOf(ring)} is calling you.`);
    describe();
    if (ring.name !== undefined) return;
    void phone?.profileName(ring.session.peer).then((name) => {
      if (name !== undefined) rules.named(name);
    });
  }

  function quiet(): void {
    ringer.stop();
    show("ring-alert", undefined);
  }

  function stopped(words: string | undefined): void {
    quiet();
    rules.stopped(words);
  }

  async function turn(on: boolean): Promise<void> {
    try {
      if (on) await rules.settle();
      phone?.hangUp();
      phone = undefined;
      if (on) start();
    } catch (thrown) {
      rules.trouble(troubleOf(thrown));
    }
    // A link's key is gone with its tab.
    if (rules.post().signer.source !== "link") keep(WAITS, phone === undefined ? "0" : "1");
    describe();
    rules.changed(phone !== undefined);
  }

  function describe(): void {
    button.setAttribute("aria-pressed", String(phone !== undefined));
    element("wait-label").textContent = phone === undefined ? "Wait for calls" : "Stop waiting";
    const where = relays.map(host).join(", ");
    const words =
      phone === undefined
        ? undefined
        : phone.reachable()
          ? `Waiting at ${where}. Leave this page open.${ringer.audible() ? "" : " The browser lets it ring aloud once you press something here."}`
          : `${where} cannot be reached: no call comes through now. Trying again.`;
    show("wait-note", words);
  }

  button.addEventListener("click", () => {
    ringer.allowSound();
    void turn(phone === undefined);
  });
  anyone.checked = recall(ANYONE) === "1";
  anyone.addEventListener("change", () => keep(ANYONE, anyone.checked ? "1" : "0"));
  // Any press will do for the browser.
  for (const type of ["pointerdown", "keydown"]) {
    document.addEventListener(type, () => {
      if (phone !== undefined) ringer.allowSound();
    });
  }
  setInterval(() => {
    if (phone !== undefined) describe();
  }, LOOK_EVERY_MS);

  return {
    answer() {
      quiet();
      return phone?.answer();
    },
    refuse() {
      quiet();
      phone?.refuse();
    },
    resume() {
      if (recall(WAITS) === "1" && phone === undefined) void turn(true);
    },
    renewed() {
      if (phone !== undefined) void turn(true);
    },
  };
}
