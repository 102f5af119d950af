/**
 * Ending a text at one of several strings.
 *
 * @module
 */

/** Looks for stop texts in a text that comes in pieces; what could be the beginning of one is held back. */
export class StopTexts {
  readonly #stops: readonly string[];
  #held = "";

  /** Throws `RangeError` for an empty text, which would end every text at once. */
  constructor(stops: readonly string[]) {
    if (stops.includes("")) {
      throw new RangeError(
        'Cannot stop at a text as it must hold a character at least: current value is ""',
      );
    }
    this.#stops = stops;
  }

  /** What of the text is known to come before a stop text, and whether one has come: nothing comes after it. */
  push(piece: string): { text: string; stopped: boolean } {
    const text = this.#held + piece;
    this.#held = "";
    const places = this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    if (places.length > 0) return { text: text.slice(0, Math.min(...places)), stopped: true };
    const end = text.length - this.#begun(text);
    this.#held = text.slice(end);
    return { text: text.slice(0, end), stopped: false };
  }

  /** What was held back when the text has ended otherwise. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** Length of the longest end of `text` that a stop text begins with. */
  #begun(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
