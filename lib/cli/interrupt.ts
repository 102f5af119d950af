/**
 * Ctrl-C, termination and a closed terminal: a first signal asks, a second one ends the process.
 *
 * @module
 */

import { ignoresHangup } from "../ffi/hangup.ts";

/** Exit code of a process that a signal ended: 128 + its number. */
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
type SignalName = keyof typeof EXIT_CODES;

/**
 * One Ctrl-C can arrive several times at once: from the terminal, and passed on by `deno task`. Whoever means it a second time
 * takes longer.
 */
const REPEAT_MS = 500;

/** What {@linkcode onInterrupt} gives. */
export interface Interrupt extends Disposable {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal;
  /** Exit code of the signal that came: 129 for SIGHUP, 130 for SIGINT, 143 for SIGTERM; 0 before. */
  readonly exitCode: number;
}

let hangupIsIgnored: boolean | undefined;

/**
 * Lets the process live on when its terminal is closed, where whoever started it wants that: Deno itself doesn't keep to it. Call it
 * before anything listens to a signal. `deno task` takes the wish away before it starts a process.
 */
export function keepIgnoredHangup(): void {
  if (hangupIsIgnored !== undefined) return;
  hangupIsIgnored = ignoresHangup();
  if (hangupIsIgnored) Deno.addSignalListener("SIGHUP", () => {});
}

/**
 * Aborts `signal` at the first SIGINT, SIGTERM or SIGHUP, and calls `onFirst`; exits at another SIGINT or SIGTERM that comes half a
 * second later or more. Disposing it stops listening.
 */
export function onInterrupt(onFirst: (name: SignalName) => void): Interrupt {
  keepIgnoredHangup();
  const controller = new AbortController();
  let exitCode = 0;
  let firstAt = 0;
  const names = (["SIGINT", "SIGTERM", "SIGHUP"] as const)
    .filter((name) => name !== "SIGHUP" || !hangupIsIgnored);
  const listeners = names.map((name) => {
    const listener = () => {
      if (!controller.signal.aborted) {
        exitCode = EXIT_CODES[name];
        firstAt = performance.now();
        controller.abort();
        onFirst(name);
      } else if (name !== "SIGHUP" && performance.now() - firstAt >= REPEAT_MS) {
        Deno.exit(EXIT_CODES[name]);
      }
    };
    Deno.addSignalListener(name, listener);
    return () => Deno.removeSignalListener(name, listener);
  });
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    [Symbol.dispose]() {
      for (const remove of listeners) remove();
    },
  };
}
