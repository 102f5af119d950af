/**
 * Ctrl-C and termination: a first signal asks, a second one ends the process.
 *
 * @module
 */

/** Exit code of a process that a signal ended: 128 + its number. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** Aborts `signal` at the first SIGINT or SIGTERM and calls `onFirst`; exits at the second. Disposing it stops listening. */
export function onInterrupt(onFirst: () => void): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const listeners = (["SIGINT", "SIGTERM"] as const).map((name) => {
    const listener = () => {
      if (controller.signal.aborted) Deno.exit(EXIT_CODES[name]);
      controller.abort();
      onFirst();
    };
    Deno.addSignalListener(name, listener);
    return () => Deno.removeSignalListener(name, listener);
  });
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const remove of listeners) remove();
    },
  };
}
