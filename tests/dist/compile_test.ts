import { assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** Runs `deno task compile` into a fresh folder; its exit code, what it said, and what it left there. */
async function compile(env: Record<string, string>) {
  const folder = await Deno.makeTempDir();
  try {
    const { code, stderr } = await new Deno.Command("sh", {
      // Outside the test somebody may have set DENORT_BIN.
      args: [
        "-c",
        `${"DENORT_BIN" in env ? "" : "unset DENORT_BIN; "}deno task --quiet compile --output "$0"`,
        join(folder, "titanbit"),
      ],
      cwd: ROOT,
      env: { NO_COLOR: "1", ...env },
    }).output();
    const left = [...Deno.readDirSync(folder)].map(({ name }) => name);
    const executable = left.includes("titanbit")
      ? new TextDecoder("latin1").decode(await Deno.readFile(join(folder, "titanbit")))
      : "";
    return { code, said: new TextDecoder().decode(stderr), left, executable };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("compile says what is missing, where it looked and the other way when DENORT_BIN is wrong", async () => {
  const { code, said, left } = await compile({ DENORT_BIN: "/nowhere/denort" });
  assertEquals(code, 1);
  assertStringIncludes(said, "error: Cannot compile as $DENORT_BIN must be");
  assertStringIncludes(said, 'current value is "/nowhere/denort"');
  assertStringIncludes(said, `denort-${Deno.build.target}.zip`);
  assertStringIncludes(said, "make dist");
  assertEquals(left, []);
});

Deno.test("compile names the cache it looked into and what stopped the download when there is no denort", async () => {
  const cache = await Deno.makeTempDir();
  try {
    // A cache with the npm packages and the bundler alone, and a proxy that refuses every connection.
    const info = await new Deno.Command("deno", { args: ["info", "--json"] }).output();
    const { denoDir } = JSON.parse(new TextDecoder().decode(info.stdout));
    await Deno.mkdir(join(cache, "dl"));
    await Deno.symlink(join(denoDir, "npm"), join(cache, "npm"));
    for (const { name } of Deno.readDirSync(join(denoDir, "dl"))) {
      if (name !== "release") {
        await Deno.symlink(join(denoDir, "dl", name), join(cache, "dl", name));
      }
    }
    const { code, said, left } = await compile({
      DENO_DIR: cache,
      HTTPS_PROXY: "http://127.0.0.1:9",
    });
    assertEquals(code, 1);
    assertStringIncludes(said, "denort is missing: $DENORT_BIN is not set");
    assertStringIncludes(
      said,
      `${cache}/dl/release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`,
    );
    assertStringIncludes(said, "could not download it (error sending request");
    assertStringIncludes(said, "make dist");
    assertEquals(left, []);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

Deno.test("compile packs the program, its workers, libraries and configs when there is a base binary", async () => {
  // The deno binary packs as denort does; what comes out can't run, so its content is what is looked at.
  const { code, said, executable } = await compile({ DENORT_BIN: Deno.execPath() });
  assertEquals([code, said.includes("error")], [0, false], said);
  const expected = [
    "titanbit.js",
    "encode_worker.js",
    "libtitanbit_cpu.so",
    "libgomp.so.1",
    "quickstart.yaml",
  ];
  assertEquals(expected.filter((name) => !executable.includes(`"${name}"`)), []);
});
