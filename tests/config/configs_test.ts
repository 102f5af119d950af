import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { loadRunConfig } from "../../lib/config/load.ts";
import { countParameters, trainingFlopsPerToken } from "../../lib/model/flops.ts";
import { createSchedule } from "../../lib/optim/schedule.ts";

const FOLDER = fromFileUrl(new URL("../../configs/", import.meta.url));
const SIZES: Record<string, number> = {
  "125m": 125e6,
  "350m": 350e6,
  "700m": 700e6,
  "default": 1.3e9,
  "3b": 3e9,
};

Deno.test("configs/ holds the sizes, the default and the quickstart", () => {
  const names = [...Deno.readDirSync(FOLDER)].map(({ name }) => name.replace(/\.yaml$/, "")).sort();
  for (const name of [...Object.keys(SIZES), "quickstart"]) assert(names.includes(name), name);
});

for (const { name } of Deno.readDirSync(FOLDER)) {
  Deno.test(`configs/${name} loads and its schedule covers the run`, async () => {
    const { config } = await loadRunConfig(FOLDER + name);
    const { lrAt, weightDecayAt } = createSchedule({
      ...config.optimizer.schedule,
      lr: config.optimizer.lr,
      weightDecay: config.optimizer.weightDecay,
      steps: config.training.steps,
    });
    const { warmupSteps } = config.optimizer.schedule;
    assertAlmostEquals(lrAt(warmupSteps - 1), config.optimizer.lr, 1e-12);
    assert(lrAt(config.training.steps - 1) < config.optimizer.lr / 10);
    assertEquals(weightDecayAt(config.training.steps - 1), 0);
  });
}

for (const [name, nominal] of Object.entries(SIZES)) {
  Deno.test(`configs/${name}.yaml has a size within 8% of its name and a comment with the true arithmetic`, async () => {
    const path = `${FOLDER}${name}.yaml`;
    const text = await Deno.readTextFile(path);
    const { model, training } = (await loadRunConfig(path)).config;
    const { total } = countParameters(model);
    assert(Math.abs(total / nominal - 1) <= 0.08, `${total} parameters`);
    const flops = trainingFlopsPerToken(model, training.seqLen).total;
    const group = (value: number) => value.toLocaleString("en-US");
    for (
      const part of [
        `${
          (total / 1e6).toLocaleString("en-US", {
            minimumFractionDigits: 1,
            maximumFractionDigits: 1,
          })
        }M`,
        `${training.batchSequences} sequences x ${training.seqLen} = ${
          group(training.tokensPerStep)
        }`,
        `in ${training.accumulationSteps} micro-batches of ${training.microBatch}`,
        `= ${group(training.steps)}\n`,
        `${(flops / 1e9).toFixed(3)} G a token`,
      ]
    ) assertStringIncludes(text, part);
  });
}
