/**
 * One executable out of a release: its program on Deno's base binary denort, by `deno compile`; where that can't be had, the whole
 * release, with Deno itself, in a file that unpacks itself.
 *
 * What is made on denort unpacks itself too, into a folder named by the hash of its content beside it or in the user's data
 * folder, so the native library and the OpenMP runtime lie on disk as real files.
 *
 * @module
 */

import { join } from "@std/path";
import { ignoreMissing } from "./files.ts";
import { buildRelease, PERMISSIONS, type Release, WORKER_OPTIONS } from "./release.ts";
import { writeSelfExtracting } from "./self_extracting.ts";
import { PROGRAM_ENTRY, type StageOptions } from "./stage.ts";
import { checkProgram } from "./start.ts";

/** Options of {@linkcode compileProgram}. */
export interface CompileOptions extends StageOptions {
  /** The executable to write; its folder is there. */
  readonly output: string;
  readonly version: string;
  /** `$DENORT_BIN`: the base binary to use. */
  readonly denort?: string;
  /** Told how many bytes of how many were packed. */
  readonly packed: (done: number, total: number) => void;
}

/**
 * Packs the program into one executable and starts it.
 *
 * Throws `Error` where `denort` is no file, or what came out is not TitanBit; `output` is then as it was.
 */
export async function compileProgram(options: CompileOptions): Promise<void> {
  const { output, version, progress } = options;
  const base = await findBase(options.denort);
  const stage = await Deno.makeTempDir({ prefix: "titanbit_compile_" });
  const unfinished = `${output}.tmp-${Deno.pid}`;
  try {
    const release = await buildRelease({ ...options, output: stage });
    const made = join(stage, "titanbit");
    let on = base ?? "the base binary that Deno downloaded";
    progress("compiling");
    const missing = await compileOnBase(release, { base, output: made });
    if (missing !== null) {
      on = "Deno itself";
      progress(`${missing}: packing Deno itself`);
      await writeSelfExtracting(release, { output: made, packed: options.packed });
    }
    progress("starting it");
    await checkProgram(made, version).catch((error) => {
      throw new Error(
        `Cannot compile on ${on} as ${error.message}; ${base === null ? RETRY : REMEDY}`,
      );
    });
    await Deno.copyFile(made, unfinished);
    await Deno.rename(unfinished, output);
    progress(`it runs on ${release.needs}`);
  } finally {
    await Deno.remove(unfinished).catch(ignoreMissing);
    await Deno.remove(stage, { recursive: true });
  }
}

/** Compiles on `base`, or where that is `null` on what Deno downloads. Why there is no base binary, or `null`. */
async function compileOnBase(
  { folder }: Release,
  { base, output }: { base: string | null; output: string },
): Promise<string | null> {
  const includes = ["app", "configs", "LICENSE", "LICENSES.txt"].flatMap((
    path,
  ) => ["--include", join(folder, path)]);
  const { success, stderr } = await new Deno.Command("deno", {
    args: [
      ...["compile", "--quiet", "--no-config", "--no-lock", "--no-check", "--no-prompt"],
      WORKER_OPTIONS,
      ...["--self-extracting", "--app-name", "titanbit", ...PERMISSIONS, ...includes],
      ...["--output", output, join(folder, PROGRAM_ENTRY)],
    ],
    env: { NO_COLOR: "1" },
  }).output();
  if (success) return null;
  const reason = new TextDecoder().decode(stderr).trim();
  // "Caused by: 0: Setting up base binary. 1: error sending request for url …"
  if (base !== null || !reason.includes("Setting up base binary")) {
    throw new Error(
      `Cannot compile on ${base ?? "the base binary that Deno downloads"}: ${reason}`,
    );
  }
  return `denort is not named by $DENORT_BIN, nor at ${await cachedBase()}, nor could Deno download it (${
    /^\s*1: (.*)$/m.exec(reason)?.[1] ?? reason
  })`;
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
  `name the denort out of ${ARCHIVE} of Deno ${Deno.version.deno} (its releases hold it), ` +
  "or unset DENORT_BIN: without denort Deno itself is packed";
const RETRY = "run `make` and try again";

/** Where Deno keeps the base binary that it downloaded. */
async function cachedBase(): Promise<string> {
  const { stdout } = await new Deno.Command("deno", { args: ["info", "--json"] }).output();
  const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
  return join(denoDir, "dl", "release", `v${Deno.version.deno}`, ARCHIVE);
}

async function isFile(path: string): Promise<boolean> {
  return await Deno.stat(path).then((info) => info.isFile, (error) => {
    ignoreMissing(error);
    return false;
  });
}
