/**
 * Results on stdout.
 *
 * @module
 */

/**
 * Writes text to stdout, as it is. Throws `Deno.errors.BrokenPipe` where nobody reads it any more, so that what makes it ends:
 * `console.log` would go on in silence.
 */
export function print(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Prints plain data as JSON over several lines; keys become snake_case, `memoryBytes` `memory_bytes`. Throws as {@linkcode print} does. */
export function printJson(value: unknown): void {
  print(JSON.stringify(snakeCased(value), null, 2) + "\n");
}

function snakeCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCased);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      snakeCased(inner),
    ]),
  );
}
