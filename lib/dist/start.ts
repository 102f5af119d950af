/**
 * Starts what was packed: a program that nobody has seen running is not one to hand out.
 *
 * @module
 */

/**
 * Starts the program at `path` with nothing of this process's environment: it says its version and opens its native library. What
 * it unpacks is removed again. Throws `Error`, whose message goes behind "as", where it is another program or does not run.
 */
export async function checkProgram(path: string, version: string): Promise<void> {
  const cache = await Deno.makeTempDir({ prefix: "titanbit_start_" });
  try {
    const said = await start(path, ["--version"], cache);
    if (said.split(/\s+/, 2).join(" ") !== `titanbit ${version}`) {
      throw new Error(
        `\`--version\` must print "titanbit ${version}": current value is ${quote(said)}`,
      );
    }
    const { found } = JSON.parse(await start(path, ["info", "--json"], cache));
    if (found.libraries.length === 0) {
      throw new Error(
        `\`info\` must find a native library: current value is ${quote(found.problem)}`,
      );
    }
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
}

async function start(path: string, args: string[], cache: string): Promise<string> {
  const { success, code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", 'exec "$0" "$@"', path, ...args],
    clearEnv: true,
    env: { XDG_CACHE_HOME: cache, XDG_DATA_HOME: cache, DENO_DIR: cache, NO_COLOR: "1" },
    stdin: "null",
  }).output();
  if (success) return new TextDecoder().decode(stdout);
  const reason = quote(new TextDecoder().decode(stderr));
  throw new Error(
    `\`${args.join(" ")}\` must end with code 0: current value is ${code}, ${reason}`,
  );
}

function quote(text: unknown): string {
  return JSON.stringify(String(text).trim());
}
