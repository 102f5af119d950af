/**
 * One executable out of the program's folder, by `deno compile`.
 *
 * The executable unpacks itself once, into a folder named by the hash of its content beside it or in the user's data
 * folder, so the native library and the OpenMP runtime lie on disk as real files.
 *
 * @module
 */

import { join } from "@std/path";
import { ignoreMissing } from "./files.ts";
import { PERMISSIONS } from "./release.ts";
import { PROGRAM_ENTRY, type StageOptions, stageProgram } from "./stage.ts";

/** Options of {@linkcode compileProgram}. */
export interface CompileOptions extends StageOptions {
  /** The executable to write. */
  readonly output: string;
  /** `$DENORT_BIN`: the base binary to use. */
  readonly denort?: string;
}

/**
 * Packs the program into one executable.
 *
 * Throws `Error` where the base binary `denort` is neither here nor can be downloaded, saying where it was looked for.
 */
export async function compileProgram(options: CompileOptions): Promise<void> {
  const base = await findBase(options.denort);
  if (base === null) {
    options.progress("denort is not in Deno's cache: Deno will try to download it");
  }
  const stage = await Deno.makeTempDir({ prefix: "titanbit_compile_" });
  try {
    await stageProgram(stage, options);
    options.progress("compiling");
    const includes = ["app", "configs", "LICENSE", "LICENSES.txt"].flatMap((
      path,
    ) => ["--include", join(stage, path)]);
    const { success, stderr } = await new Deno.Command("deno", {
      args: [
        ...["compile", "--quiet", "--no-config", "--no-lock", "--no-check", "--no-prompt"],
        ...["--self-extracting", "--app-name", "titanbit", ...PERMISSIONS, ...includes],
        ...["--output", options.output, join(stage, PROGRAM_ENTRY)],
      ],
      env: { NO_COLOR: "1" },
    }).output();
    if (success) return;
    const reason = new TextDecoder().decode(stderr).trim();
    if (base !== null) throw new Error(`Cannot compile on ${base}: ${reason}`);
    throw new Error(await explainMissingBase(reason));
  } finally {
    await Deno.remove(stage, { recursive: true });
  }
}

/** The base binary that `deno compile` will take, or `null` where it would have to download one. */
async function findBase(denort: string | undefined): Promise<string | null> {
  if (denort !== undefined) {
    if (await isFile(denort)) return denort;
    throw new Error(
      `Cannot compile as $DENORT_BIN must be Deno's base binary denort: current value is "${denort}", which is no file; ${REMEDY}`,
    );
  }
  const cached = await cachedBase();
  return await isFile(cached) ? cached : null;
}

const ARCHIVE = `denort-${Deno.build.target}.zip`;
const REMEDY =
  `get ${ARCHIVE} of Deno ${Deno.version.deno} (its releases hold it) on a machine that reaches them, then ` +
  "unpack it and name the binary by DENORT_BIN; or run `make dist`, which packs the same program without it";

/** Where Deno keeps the base binary that it downloaded. */
async function cachedBase(): Promise<string> {
  const { stdout } = await new Deno.Command("deno", { args: ["info", "--json"] }).output();
  const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
  return join(denoDir, "dl", "release", `v${Deno.version.deno}`, ARCHIVE);
}

async function explainMissingBase(reason: string): Promise<string> {
  // "Caused by: 0: Setting up base binary. 1: error sending request for url …"
  const cause = /^\s*1: (.*)$/m.exec(reason)?.[1] ?? reason;
  return `Cannot compile as Deno's base binary denort is missing: $DENORT_BIN is not set, ${await cachedBase()} is not ` +
    `there, and Deno could not download it (${cause}); ${REMEDY}, or put the zip there`;
}

async function isFile(path: string): Promise<boolean> {
  return await Deno.stat(path).then((info) => info.isFile, (error) => {
    ignoreMissing(error);
    return false;
  });
}
