import { assert, assertEquals, assertLess } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { BitNetConfig, BitNetTransformer } from "../mod.ts";

const MOD = new URL("../mod.ts", import.meta.url);

const CONFIG = fromFileUrl(new URL("../deno.json", import.meta.url));

/** The first runnable example of mod.ts. */
function example(): string {
  const block = /^ \* ```ts\n(.*?)^ \* ```$/ms.exec(Deno.readTextFileSync(MOD));
  assert(block !== null, "mod.ts has no example");
  return block[1]!.replace(/^ \* ?/gm, "").replace("@titanbit/titanbit", MOD.href);
}

Deno.test("the example of mod.ts type-checks and runs, and its loss falls", async () => {
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, example());
    const { success, stdout, stderr } = await new Deno.Command("deno", {
      args: [
        ...["run", "--check", `--config=${CONFIG}`, "--no-prompt", "--allow-read", "--allow-ffi"],
        ...["--allow-env=TITANBIT_LIB,TITANBIT_THREADS", path],
      ],
      env: { NO_COLOR: "1" },
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const losses = new TextDecoder().decode(stdout).trim().split("\n")
      .map((line) => Number(line.split(" ")[1]));
    assertEquals(losses.length, 20);
    assertLess(losses.at(-1)!, 0.6 * losses[0]!);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("mod.ts opens no library and asks for no permission when it is imported", async () => {
  const { success, stderr } = await new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--no-check", MOD.href],
  }).output();
  assert(success, new TextDecoder().decode(stderr));
});

Deno.test("BitNetTransformer gives logits of every position and a loss near ln V when it is fresh", () => {
  const config = new BitNetConfig({ vocabSize: 97, hiddenSize: 64, numLayers: 2, numHeads: 4 });
  using model = BitNetTransformer.create(config, { device: "auto" });
  const ids = [5, 3, 96, 0, 41];
  const { logits, loss } = model.forward(ids, { labels: ids });
  assertEquals(logits.length, ids.length * config.vocabSize);
  assert(loss !== null && Math.abs(loss - Math.log(config.vocabSize)) < 0.5, `loss is ${loss}`);
});
