/** A trained-looking checkpoint, and commands that run as a user runs them. */

import { fromFileUrl } from "@std/path";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { byteTokenizerJson, saveModel, tinyConfig, withFolder } from "../inference/support.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** The permissions that deno.json gives a task. */
export function taskPermissions(name: string): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  return tasks[name].command.split(" ").filter((word: string) => word.startsWith("--allow-"));
}

/** What a command printed and how it ended. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `tasks/<name>.ts` in a process with the permissions of its task, its standard input from a file, its output to `reader`. */
export function startTask(
  name: string,
  args: readonly string[],
  options: { stdin?: string; reader?: string; env?: Readonly<Record<string, string>> } = {},
): Deno.ChildProcess {
  // The exit code is that of the task, not of its reader.
  const shell = options.reader === undefined
    ? 'exec deno "$@" < "$0"'
    : `exec 3>&1; code=$({ { deno "$@" < "$0"; echo $? >&4; } | ${options.reader} >&3; } 4>&1); exit $code`;
  return new Deno.Command("sh", {
    args: [
      ...["-c", shell, options.stdin ?? "/dev/null"],
      ...["run", "--no-prompt", "--no-check", ...taskPermissions(name)],
      `${ROOT}tasks/${name}.ts`,
      ...args,
    ],
    env: { NO_COLOR: "1", TITANBIT_THREADS: "1", ...options.env },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs `tasks/<name>.ts` to its end. */
export async function runTask(
  name: string,
  args: readonly string[],
  options: { stdin?: string; reader?: string } = {},
): Promise<Finished> {
  const { code, stdout, stderr } = await startTask(name, args, options).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Runs `body` with the checkpoint of a small model over bytes, trained on sequences of 32, in a fresh folder. */
export function withCheckpoint(
  body: (context: { folder: string; checkpoint: string }) => Promise<void>,
  options: { tokenizer?: boolean; vocabSize?: number } = {},
): Promise<void> {
  return withFolder(async (folder) => {
    using model = BitNetTransformer.create(tinyConfig({ vocabSize: options.vocabSize ?? 257 }), {
      device: { kind: "cpu", threads: 1 },
      training: false,
      seed: 4,
    });
    const checkpoint = await saveModel(`${folder}/run`, model, {
      step: 9,
      tokenizerJson: options.tokenizer === false ? null : byteTokenizerJson(),
    });
    await body({ folder, checkpoint });
  });
}
