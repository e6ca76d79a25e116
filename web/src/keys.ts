// The card that says with which key the page calls and is called.

import * as nip19 from "nostr-tools/nip19";
import { element, show } from "./dom.ts";
import { extension, extensionSigner, keep, keySigner, newSecret, readSecret, recall, replaceSecret, storedSecret, type Signer } from "./identity.ts";
import { openPost, type Post } from "./post.ts";
import { Trouble, troubleOf } from "./trouble.ts";

export interface Keys {
  /** The post of the key that is used. */
  readonly post: Post;
  readonly npub: string;
  /** Whether the key came with a link. */
  invited(): boolean;
  /** Uses the key of a link, or this browser's own when there is none. */
  begin(linkKey: string | undefined): void;
  /** Asks the extension for its key, when it is the chosen one and not used yet. */
  settle(): Promise<void>;
}

const SOURCE = "callgate.source";
// Extensions put themselves into the page a moment after it is loaded.
const EXTENSION_LOOKS_MS = [0, 300, 1000, 3000];

const NOTES: Record<Signer["source"], string> = {
  page: "This key is kept in this browser. Give it to the line's operator, who adds it to the line's list of callers.",
  extension: "This is your extension's key. The line's operator must have it on the line's list of callers.",
  link: "You call with a one-time key from this link: an invitation. The key is not kept beyond this tab; to come back later, open the link again.",
};

/** `changed` is told when another key is used, or chosen to be used. */
export function openKeys(changed: () => void, trouble: (trouble: Trouble | undefined) => void): Keys {
  let post: Post;
  let npub = "";

  function use(signer: Signer): void {
    post = openPost(signer);
    npub = nip19.npubEncode(signer.pubkey);
    element("me").textContent = npub;
    element("me-note").textContent = NOTES[signer.source];
    element("other-key").hidden = signer.source !== "page";
    changed();
  }

  const chosen = (): string => (element<HTMLInputElement>("source-extension").checked ? "extension" : "page");

  async function useExtension(): Promise<void> {
    try {
      use(await extensionSigner());
    } catch (thrown) {
      element<HTMLInputElement>("source-page").checked = true;
      throw thrown;
    }
  }

  async function changeSource(): Promise<void> {
    keep(SOURCE, chosen());
    try {
      if (chosen() === "page") use(keySigner(storedSecret(), "page"));
      else await useExtension();
      trouble(undefined);
    } catch (thrown) {
      keep(SOURCE, "page");
      trouble(troubleOf(thrown));
    }
  }

  /** Offers the extension once it shows up; chooses it again if it was chosen at the last visit. */
  function lookForExtension(): void {
    if (extension() === undefined || post.signer.source === "link" || !element("source").hidden) return;
    element("source").hidden = false;
    if (recall(SOURCE) !== "extension") return;
    element<HTMLInputElement>("source-extension").checked = true;
    changed();
  }

  function changeSecret(make: () => Uint8Array): void {
    try {
      use(keySigner(make(), "page"));
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

  function copy(): void {
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
    else navigator.clipboard.writeText(npub).then(() => done("Copied"), select);
  }

  for (const ms of EXTENSION_LOOKS_MS) setTimeout(lookForExtension, ms);
  element("copy").addEventListener("click", copy);
  for (const id of ["source-page", "source-extension"]) element(id).addEventListener("change", () => void changeSource());
  element("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    changeSecret(() => replaceSecret(readSecret(element<HTMLInputElement>("secret").value)));
  });
  element("new-key").addEventListener("click", () => changeSecret(newSecret));

  return {
    get post() {
      return post;
    },
    get npub() {
      return npub;
    },
    invited: () => post.signer.source === "link",
    begin(linkKey) {
      try {
        use(linkKey === undefined ? keySigner(storedSecret(), "page") : keySigner(readSecret(linkKey), "link"));
      } catch (thrown) {
        use(keySigner(storedSecret(), "page"));
        trouble(new Trouble("bad-key", "The link's key can't be read", `${troubleOf(thrown).words} Your own key is used.`));
      }
    },
    async settle() {
      if (post.signer.source === "page" && chosen() === "extension") await useExtension();
    },
  };
}
