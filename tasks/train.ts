/**
 * `train`: trains a model as a config says, or goes on with a run.
 *
 * @module
 */

import { join, resolve } from "@std/path";
import { findLatest, listCheckpoints } from "../lib/checkpoint/find.ts";
import { FILES } from "../lib/checkpoint/layout.ts";
import { type Command, main, UsageError } from "../lib/cli/command.ts";
import { LAYERS_FLAG } from "../lib/cli/model_flags.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { tell } from "../lib/cli/progress.ts";
import { resumeCommand } from "../lib/cli/resume_command.ts";
import { TrainingReport } from "../lib/cli/training_report.ts";
import { VERSION } from "../lib/cli/version.ts";
import { loadFaults } from "../lib/config/load_faults.ts";
import { loadRunConfig } from "../lib/config/load.ts";
import type { RunConfig } from "../lib/config/run_config.ts";
import { runConfigToYaml } from "../lib/config/print.ts";
import { Dashboard, DEFAULT_PORT } from "../lib/dashboard/server.ts";
import { outsideSettings, requireInside } from "../lib/training/checkpoint_config.ts";
import { importLayersFile } from "../lib/training/import_layers.ts";
import { fitRun, planRun } from "../lib/training/fit.ts";
import { describeDevice } from "../lib/training/machine.ts";
import { describePlan } from "../lib/training/memory_plan.ts";
import { runTraining, trainingPermissions } from "../lib/training/run.ts";
import { runFolder } from "../lib/training/run_folder.ts";

export const command: Command = {
  name: "train",
  summary: "train a model from a config, or resume one",
  description:
    "Ctrl-C finishes the step, saves a checkpoint, says how to go on and exits with 130; a second Ctrl-C exits at once. SIGTERM " +
    "(143) and a closed terminal (129) do so too.",
  flags: [
    { name: "config", kind: "string", placeholder: "FILE", help: "YAML of the run" },
    {
      name: "resume",
      kind: "string",
      placeholder: "PATH|latest",
      help:
        "go on from a checkpoint's folder, or from the newest sound one of a run's folder or of this run",
    },
    {
      name: "set",
      kind: "list",
      placeholder: "section.key=value",
      help: "change one key of the config; may be given again",
    },
    {
      name: "device",
      kind: "string",
      choices: ["auto", "cuda", "cpu"],
      help: "short for --set training.device=…",
    },
    {
      name: "peak-tflops",
      kind: "string",
      placeholder: "N",
      help:
        "dense bfloat16 peak of a card that isn't known, for MFU; short for --set logging.peak_tflops=…",
    },
    {
      name: "inject",
      kind: "string",
      placeholder: "FILE",
      help: "make the faults of a YAML list on purpose, see docs/stability.md",
    },
    {
      name: "dashboard",
      kind: "integer",
      placeholder: "[PORT]",
      help: `show the run in a browser on this machine (port ${DEFAULT_PORT} unless given)`,
      min: 0,
      max: 65535,
      bare: String(DEFAULT_PORT),
    },
    LAYERS_FLAG,
    {
      name: "trust-config",
      kind: "boolean",
      help:
        "let the config of the checkpoint that --resume names write outside its run's folder and listen to other machines",
    },
    { name: "print-config", kind: "boolean", help: "print the complete config and exit" },
  ],
  examples: [
    "deno task train --config configs/quickstart.yaml",
    "deno task train --config configs/quickstart.yaml --dashboard",
    "deno task train --config configs/quickstart.yaml --resume latest",
    "deno task train --config configs/quickstart.yaml --layers row_layers.ts",
    "deno task train --config configs/125m.yaml --set optimizer.lr=1e-3 --set checkpoint.run=lr1e-3",
  ],
  async run(args) {
    const from = args.optionalString("resume");
    const checkpoint = await checkpointOf(from);
    const short = (flag: string, key: string) => {
      const value = args.optionalString(flag);
      return value === undefined ? [] : [`${key}=${value}`];
    };
    const set = [
      ...args.list("set"),
      ...short("device", "training.device"),
      ...short("peak-tflops", "logging.peak_tflops"),
    ];
    const file = args.optionalString("config");
    const loaded = await loadRunConfig(configFile(file, checkpoint), { set });
    const given = set.map((assignment) => assignment.split("=", 1)[0]!.trim());
    if (file === undefined && checkpoint !== undefined && !args.boolean("trust-config")) {
      requireInside({ config: loaded.config, checkpoint, given });
    }
    if (args.boolean("print-config")) {
      console.log(runConfigToYaml(loaded.config, loaded).trimEnd());
      return 0;
    }
    const layersFile = args.optionalString("layers");
    const own = layersFile === undefined ? null : await importLayersFile(layersFile);
    const withLayers = own === null ? {} : { layers: own.layers };
    const device = describeDevice(loaded.config.training.device);
    const fitted = fitRun(loaded, device, withLayers);
    const { config } = fitted;
    const ofThisRun = from !== undefined && resolve(from) === resolve(runFolder(config));
    const resume = ofThisRun ? "latest" : checkpoint;
    tell(`memory  ${describePlan(planRun(config, device.dtype, withLayers))}`);
    const { steps } = config.training;
    const heading = runConfigToYaml(config, fitted);
    const inject = args.optionalString("inject");
    const faults = inject === undefined ? [] : await loadFaults(inject);
    const port = args.optionalInteger("dashboard");
    await using dashboard = port === undefined ? null : showRun(config, port);
    const report = new TrainingReport({
      ...{ steps, style: config.logging.console, heading },
      ...(dashboard !== null && { address: `dashboard  ${dashboard.url}` }),
    });
    using interrupt = onInterrupt(() => report.warn("stopping after this step"));
    const result = await runTraining(config, {
      ...(resume !== undefined && { resume }),
      version: VERSION,
      faults,
      // Layers of the user's own may do what the program may.
      ...(own === null ? { permissions: trainingPermissions(config) } : { layers: own.address }),
      observer: report,
      signal: interrupt.signal,
    }).finally(() => report.finish());
    tell(`${result.ended} at step ${result.state.step}`);
    if (result.unsaved !== null) {
      const kept = result.checkpoint === null ? "Nothing was kept of the last steps: " : "";
      tell(`error: ${kept}${result.unsaved}`);
      return 1;
    }
    if (result.ended === "finished") return 0;
    const program = import.meta.main ? "deno task" : "titanbit";
    const saved = { config, checkpoint: result.checkpoint!, given: [] };
    const extra = outsideSettings(saved).length > 0 ? ["--trust-config"] : [];
    const folder = runFolder(config);
    tell(`go on with  ${resumeCommand(command, { args, folder, program, extra })}`);
    return interrupt.exitCode;
  },
};

/** Serves the run's records as they are written; they are read by the thread that doesn't train. */
function showRun(config: RunConfig, port: number): Dashboard {
  const records = config.logging.jsonl;
  if (records === null) {
    throw new UsageError(
      "Cannot show the run as logging.jsonl must name the file that the dashboard reads: current value is null",
    );
  }
  const runs = [{ records, config: runConfigToYaml(config) }];
  return Dashboard.serve({ runs, port, warn: tell });
}

/** Of a run's folder its newest sound checkpoint; else what was given. */
async function checkpointOf(resume: string | undefined): Promise<string | undefined> {
  if (resume === undefined || resume === "latest" || listCheckpoints(resume).length === 0) {
    return resume;
  }
  return (await findLatest(resume))!.path;
}

/** A checkpoint knows its own config. */
function configFile(given: string | undefined, resume: string | undefined): string {
  if (given !== undefined) return given;
  if (resume === "latest") {
    throw new UsageError(
      "Cannot find the latest checkpoint without a config, which names the run's folder: give --config FILE too, or that folder " +
        "with --resume FOLDER",
    );
  }
  if (resume !== undefined) return join(resume, FILES.runConfig);
  throw new UsageError("Cannot train without a config: give --config FILE or --resume PATH");
}

if (import.meta.main) await main(command);
