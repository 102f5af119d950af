/**
 * Text for a terminal.
 *
 * @module
 */

/**
 * What steers a terminal or turns the order of letters around, but for line ends and tabs: control characters, marks of
 * bidirectional text, separators of lines and paragraphs.
 */
// deno-lint-ignore no-control-regex -- they are what is looked for
const STEERING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A text in which names that come from files and requests can't steer the terminal: `\u001b` is shown as just that. */
export function printable(text: string): string {
  return text.replace(
    STEERING,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
