/** Commands in a pseudo terminal, by util-linux' `script`. */

/** Whether `script` is installed. */
export function hasScript(): boolean {
  const options = { args: ["-c", "script -qec true /dev/null"] };
  return new Deno.Command("sh", { ...options, stdout: "null", stderr: "null" }).outputSync()
    .success;
}

/** A command in a terminal. */
export interface InTerminal {
  /** The whole process, the terminal's end included. */
  readonly process: Deno.ChildProcess;
  /** What the terminal has shown so far. */
  readonly text: string;
  /** Types, as on its keyboard: `\x03` is Ctrl-C. */
  type(keys: string): Promise<void>;
  /** Waits until the terminal has shown something, or is gone; what it has shown. */
  until(seen: (text: string) => boolean): Promise<string>;
}

/** Starts a command line in a terminal of so many columns; `process.status` has the command's own exit code. */
export function startInTerminal(
  words: readonly string[],
  options: { cwd?: string; env?: Record<string, string>; columns?: number } = {},
): InTerminal {
  const { columns = 80, cwd, env = {} } = options;
  const line = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const command = `stty rows 24 columns ${columns}; exec ${line}`;
  const process = new Deno.Command("sh", {
    args: ["-c", 'exec script -qefc "$1" /dev/null', "sh", command],
    env: { TERM: "xterm", ...env },
    ...(cwd !== undefined && { cwd }),
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const keyboard = process.stdin.getWriter();
  const shown = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return {
    process,
    get text() {
      return text;
    },
    type: (keys) => keyboard.write(new TextEncoder().encode(keys)),
    async until(seen) {
      while (!seen(text)) {
        const { done, value } = await shown.read();
        if (done) {
          await keyboard.close().catch(() => {}); // whoever read it is gone
          break;
        }
        text += value;
      }
      return text;
    },
  };
}
