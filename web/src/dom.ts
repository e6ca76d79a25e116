// The page's elements, by their ids.

export function element<T extends Element = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`no #${id}`);
  return found as unknown as T;
}

/** Shows the text, or hides its element when there is none. What is as it was is left alone: it would be read aloud again. */
export function show(id: string, text: string | undefined): void {
  const target = element(id);
  const hidden = text === undefined || text === "";
  if (target.hidden !== hidden) target.hidden = hidden;
  if (target.textContent !== (text ?? "")) target.textContent = text ?? "";
}

/** A key, short enough for a line of text. */
export function short(key: string): string {
  return `${key.slice(0, 12)}…${key.slice(-6)}`;
}
