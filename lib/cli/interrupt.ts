/**
 * Ctrl-C and termination: a first signal asks, a second one ends the process.
 *
 * @module
 */

/** Exit code of a process that a signal ended: 128 + its number. */
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Aborts `signal` at the first SIGINT or SIGTERM, or SIGHUP where a terminal was closed, and calls `onFirst`; exits at the second.
 * Disposing it stops listening.
 */
export function onInterrupt(onFirst: () => void): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  // Without a terminal SIGHUP may be ignored on purpose, by nohup, which a listener would undo.
  const names = (["SIGINT", "SIGTERM", "SIGHUP"] as const)
    .filter((name) => name !== "SIGHUP" || Deno.stderr.isTerminal());
  const listeners = names.map((name) => {
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
