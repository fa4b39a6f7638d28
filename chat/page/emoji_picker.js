// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The window in which the user picks an emoji, by the mouse or the keyboard. */
import { make } from "./dom.js";
import { EMOJI } from "./emoji.js";

/**
 * Opens the picker above a button. The focus returns to the field when an emoji is picked.
 *
 * @param {HTMLElement} button
 * @param {(emoji: string) => void} pick
 */
export function showPicker(button, pick) {
  const filter = /** @type {HTMLInputElement} */ (make("input", {
    placeholder: "Find an emoji",
    ariaLabel: "Find an emoji",
    oninput: () => draw(),
  }));
  const list = make("div.emojis", { role: "group", ariaLabel: "Emoji" });
  const close = () => picker.remove();
  const picker = make(
    "div.picker menu",
    {
      popover: "auto",
      ontoggle: (/** @type {ToggleEvent} */ { newState }) => newState === "closed" && close(),
    },
    filter,
    list,
  );
  const draw = () => {
    const wanted = filter.value.trim().toLowerCase();
    const found = [...EMOJI].filter(([name]) => name.includes(wanted));
    list.replaceChildren(...found.map(([name, emoji]) => {
      const onclick = () => {
        picker.hidePopover();
        pick(emoji);
      };
      return make("button", { type: "button", title: name, ariaLabel: name, onclick }, emoji);
    }));
  };
  picker.onkeydown = (event) => {
    const buttons = [...list.querySelectorAll("button")];
    const index = buttons.findIndex((each) => each === document.activeElement);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8 }[event.key];
    if (event.key === "Enter" && index < 0) buttons[0]?.click();
    else if (step !== undefined && (index >= 0 || step > 0)) {
      (index + step < 0 ? filter : buttons[Math.max(0, index + step)])?.focus();
    } else return event.stopPropagation();
    event.preventDefault();
    event.stopPropagation();
  };
  draw();
  document.body.append(picker);
  picker.showPopover();
  const { left, top } = button.getBoundingClientRect();
  picker.style.left = `${Math.max(4, Math.min(left, innerWidth - picker.offsetWidth - 4))}px`;
  picker.style.top = `${Math.max(4, top - picker.offsetHeight - 4)}px`;
  filter.focus();
}
