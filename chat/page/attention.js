// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Draws the user's attention to messages that concern them, when they do not see them: a notification, a
 * sound, the badge of the installed page. It keeps the latest mentions for a list.
 *
 * Which messages concern the user is decided in conversation.js.
 */
import { browserStorage, tabStorage } from "./dom.js";

/** @import { Entry } from "./entry.js" */
/** @import { Destination } from "./lists.js" */
/** @import { Notice } from "./notice.js" */

/** A message that concerns the user. `place` is the room, or the nickname of the author.
 * @typedef {{ destination: Destination, place: string, nick: string, text: string, time: number }} Mention */

/** Mentions that are kept. */
const MAX_MENTIONS = 50;
/** Characters of a message that a notification shows. */
const MAX_BODY_CHARS = 200;
/** The sound: two short tones, in hertz and seconds. */
const TONES_HZ = [660, 880], TONE_S = 0.12, VOLUME = 0.1;

/** Draws the attention of one user. */
export class Attention {
  /** The latest mentions, the newest first. @type {Mention[]} */
  mentions = tabStorage.get("mentions") ?? [];
  #notice;
  #go;

  /**
   * @param {Notice} notice
   * @param {(destination: Destination) => void} go
   */
  constructor(notice, go) {
    this.#notice = notice;
    this.#go = go;
  }

  /** Whether the user wants notifications, and the browser shows them. */
  get notifies() {
    return browserStorage.get("notify") === true && permission() === "granted";
  }

  /** Whether a sound is played. */
  get sounds() {
    return browserStorage.get("sound") === true;
  }

  set sounds(/** @type {boolean} */ isOn) {
    browserStorage.set("sound", isOn);
    if (isOn) play();
  }

  /**
   * Handles a message that concerns the user.
   *
   * @param {Destination} destination
   * @param {string} place
   * @param {Entry} entry
   * @param {boolean} isSeen whether the user sees it
   */
  draw(destination, place, { nick, text, time }, isSeen) {
    const mention = { destination, place, nick, text, time };
    if (destination.room !== undefined) {
      this.mentions = [mention, ...this.mentions].slice(0, MAX_MENTIONS);
      tabStorage.set("mentions", this.mentions);
    }
    if (isSeen) return;
    if (this.sounds) play();
    if (this.notifies) this.#notify(mention);
    else if (permission() === "default" && browserStorage.get("notify") === null) this.#ask();
  }

  /** Turns notifications on, which asks the browser, or off. @param {boolean} isOn */
  async notify(isOn) {
    browserStorage.set("notify", isOn);
    if (isOn && permission() === "default") await Notification.requestPermission();
  }

  /** Shows the number of messages that concern the user on the icon of the installed page. */
  count(/** @type {number} */ many) {
    // Only some browsers have badges, and only for installed pages.
    const { setAppBadge } =
      /** @type {{ setAppBadge?: (many: number) => Promise<void> }} */ (navigator);
    setAppBadge?.call(navigator, many).catch(() => {});
  }

  #ask() {
    this.#notice.ask("Be notified of messages that mention you?", {
      "Turn on": () => void this.notify(true),
      "Not now": () => browserStorage.set("notify", false),
    });
  }

  /** @param {Mention} mention */
  async #notify({ destination, place, nick, text }) {
    const title = destination.room === undefined ? nick : `${nick} in #${place}`;
    const options = { body: text.slice(0, MAX_BODY_CHARS), tag: place };
    try {
      const notification = new Notification(title, options);
      notification.onclick = () => {
        focus();
        this.#go(destination);
        notification.close();
      };
    } catch {
      // Phones show notifications of an installed page only, by its service worker.
      const worker = await navigator.serviceWorker?.getRegistration();
      await worker?.showNotification(title, options).catch(() => {});
    }
  }
}

function permission() {
  return typeof Notification === "function" ? Notification.permission : "denied";
}

/** Plays the sound, which needs no file. */
function play() {
  const audio = new AudioContext();
  const volume = new GainNode(audio, { gain: VOLUME });
  volume.connect(audio.destination);
  TONES_HZ.forEach((frequency, index) => {
    const tone = new OscillatorNode(audio, { frequency });
    tone.connect(volume);
    tone.start(index * TONE_S);
    tone.stop((index + 1) * TONE_S);
  });
  setTimeout(() => audio.close(), 1000 * TONE_S * (TONES_HZ.length + 1));
}
