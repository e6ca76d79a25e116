// The list of lines of the callgate that serves this page, as it is shown.

import { element } from "./dom.ts";
import type { Line } from "./lines.ts";

const LINE_STATE: Record<Line["state"], string> = { idle: "Ready", opening: "Starting its camera", open: "On", reopening: "Its camera is away" };

/** Whether anything changed. `pressed` gets the line whose button is pressed. */
export function drawLines(lines: Line[], disabled: boolean, pressed: (line: Line) => void): boolean {
  element("lines-card").hidden = lines.length === 0;
  const list = element("lines");
  // Rebuilt only when something changed, so that the focus stays where it is.
  const drawn = JSON.stringify(lines);
  if (list.dataset["drawn"] === drawn) return false;
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["npub"] : undefined;
  list.dataset["drawn"] = drawn;
  list.replaceChildren(...lines.map((line) => lineItem(line, disabled, pressed)));
  if (focused !== undefined) list.querySelector<HTMLElement>(`[data-npub="${CSS.escape(focused)}"]`)?.focus();
  return true;
}

function lineItem(line: Line, disabled: boolean, pressed: (line: Line) => void): HTMLLIElement {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset["npub"] = line.npub;
  button.disabled = disabled;
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
  button.addEventListener("click", () => pressed(line));
  item.append(button);
  return item;
}
