/**
 * "Did you mean …?" for flags, commands, choices and configuration keys.
 *
 * @module
 */

import { closestString, levenshteinDistance } from "@std/text";

/**
 * The nearest of `known` as a clause for an error text, `", did you mean X?"`, or an empty string where nothing
 * is near: more than half of the longer word would have to change.
 */
export function nearest(word: string, known: readonly string[]): string {
  if (known.length === 0) return "";
  const best = closestString(word, known);
  const length = Math.max(word.length, best.length);
  const near = levenshteinDistance(word.toLowerCase(), best.toLowerCase()) <= length / 2 ||
    (word.length >= 3 && best.startsWith(word));
  return near ? `, did you mean ${best}?` : "";
}
