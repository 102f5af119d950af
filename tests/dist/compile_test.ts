import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import meta from "../../deno.json" with { type: "json" };

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

const CONFIG = `
model: { vocab_size: 300, hidden_size: 64, num_layers: 2, num_heads: 2, intermediate_size: 256, max_seq_len: 32 }
data: { train: text.tokens, tokenizer: tokenizer.json }
training: { steps: 10, seq_len: 32, batch_sequences: 4, device: cpu, eval_every: 0 }
optimizer: { lr: 1e-3 }
checkpoint: { run: tiny, every_steps: 10 }
logging: { every_steps: 1 }
`;

/** Runs a shell line in `cwd`; its exit code and what it said. */
async function shell(line: string, { cwd, env }: { cwd: string; env?: Record<string, string> }) {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", line],
    cwd,
    env: { NO_COLOR: "1", ...env },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Runs `deno task compile` with the output `folder`/titanbit. */
async function compile(folder: string, env: Record<string, string>) {
  // Outside the test somebody may have set DENORT_BIN.
  const unset = "DENORT_BIN" in env ? "" : "unset DENORT_BIN; ";
  return await shell(`${unset}deno task --quiet compile --output "${folder}/titanbit"`, {
    cwd: ROOT,
    env,
  });
}

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "titanbit compile " });
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const left = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name);

Deno.test("compile says what DENORT_BIN must be and the other way when it names nothing", async () => {
  await withFolder(async (folder) => {
    const { code, stderr } = await compile(folder, { DENORT_BIN: "/nowhere/denort" });
    assertEquals([code, left(folder)], [1, []]);
    assertStringIncludes(stderr, "error: Cannot compile as $DENORT_BIN must be");
    assertStringIncludes(stderr, 'current value is "/nowhere/denort"');
    assertStringIncludes(stderr, `denort-${Deno.build.target}.zip`);
    assertStringIncludes(stderr, "unset DENORT_BIN");
  });
});

Deno.test("compile refuses what it made, and leaves what was there, when DENORT_BIN is not denort", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "titanbit"), "an older one");
    // `deno compile` takes any binary, and what comes out of this one is plain Deno.
    const { code, stdout, stderr } = await compile(folder, { DENORT_BIN: Deno.execPath() });
    assertEquals([code, stdout, left(folder)], [1, "", ["titanbit"]]);
    assertEquals(await Deno.readTextFile(join(folder, "titanbit")), "an older one");
    assertStringIncludes(stderr, `error: Cannot compile on ${Deno.execPath()} as \`--version\``);
    assertMatch(
      stderr,
      new RegExp(`must print "titanbit ${meta.version}": current value is "deno `),
    );
  });
});

/** A Deno cache with the npm packages and the bundler alone. */
async function cacheWithoutBase(folder: string): Promise<string> {
  const cache = join(folder, "deno");
  const { stdout } = await new Deno.Command("deno", { args: ["info", "--json"] }).output();
  const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
  await Deno.mkdir(join(cache, "dl"), { recursive: true });
  await Deno.symlink(join(denoDir, "npm"), join(cache, "npm"));
  for (const name of left(join(denoDir, "dl"))) {
    if (name === "release") continue;
    await Deno.symlink(join(denoDir, "dl", name), join(cache, "dl", name));
  }
  return cache;
}

/** A command that takes network, environment and identity away from what follows, as far as this user may do that. */
async function strip(): Promise<string> {
  const may = async (prefix: string) =>
    (await new Deno.Command("sh", { args: ["-c", `${prefix} true`] }).output()).success;
  const parts = [];
  if (await may("unshare -n")) parts.push("unshare -n");
  else if (await may("unshare -rn")) parts.push("unshare -rn");
  else console.error("SKIPPED: running without a network: this user may not take it away");
  const other = "setpriv --reuid=65534 --regid=65534 --clear-groups";
  if (await may(other)) parts.push(other);
  else console.error("SKIPPED: running as another user: only root can do that");
  return [...parts, "env -i"].join(" ");
}

Deno.test("compile without denort makes one file that trains ten steps, as another user and without a network or environment", async (t) => {
  await withFolder(async (folder) => {
    // A proxy that refuses every connection stands for a network without Deno's downloads.
    const env = { DENO_DIR: await cacheWithoutBase(folder), HTTPS_PROXY: "http://127.0.0.1:9" };
    const out = join(folder, "out");
    const { code, stdout, stderr } = await compile(out, env);
    assertEquals([code, left(out)], [0, ["titanbit"]], stderr);
    assertMatch(stdout, /titanbit {2}[\d.]+ MiB\n$/);
    assertStringIncludes(stderr, `nor at ${env.DENO_DIR}/dl/release/v${Deno.version.deno}/denort-`);
    assertStringIncludes(stderr, "nor could Deno download it (error sending request");

    const run = join(folder, "run");
    await Deno.chmod(folder, 0o755);
    await Deno.mkdir(run);
    await Deno.chmod(run, 0o777);
    const text = Array.from({ length: 2000 }, (_, i) => `Line ${i} of ${i * 7919 % 1000}.\n`);
    await Deno.writeTextFile(join(run, "text.txt"), text.join(""));
    await Deno.writeTextFile(join(run, "config.yaml"), CONFIG);
    const titanbit = `${await strip()} ../out/titanbit`;
    let unpacked = "";
    try {
      await t.step(
        "it unpacks into the temporary folder of that user and finds its library",
        async () => {
          const { code, stdout, stderr } = await shell(`${titanbit} info --json`, { cwd: run });
          assertEquals([code, stderr], [0, ""]);
          const library = JSON.parse(stdout).found.libraries[0].path as string;
          unpacked = /^(\/(?:var\/)?tmp\/titanbit-\d+\/[^/]+)\/app\/build\//.exec(library)?.[1] ??
            "";
          assertMatch(unpacked, new RegExp(`/${meta.version}-[0-9a-f]{16}$`), library);
        },
      );
      await t.step("it trains ten steps", async () => {
        for (
          const line of [
            "tokenize --input text.txt --output text.tokens --train-vocab 300 --workers 2",
            "train --config config.yaml",
          ]
        ) {
          const { code, stderr } = await shell(`${titanbit} ${line}`, { cwd: run });
          assertEquals(code, 0, stderr);
        }
        const weights = join(run, "checkpoints/tiny/step_0000010/model.safetensors");
        assertEquals((await Deno.stat(weights)).isFile, true);
      });
      await t.step("it passes on how a command ends", async () => {
        const { code, stderr } = await shell(`${titanbit} trian`, { cwd: run });
        assertEquals(code, 1);
        assertStringIncludes(
          stderr,
          "error: Cannot run titanbit trian as there is no such command",
        );
      });
    } finally {
      if (unpacked !== "") await Deno.remove(unpacked, { recursive: true });
    }
  });
});
