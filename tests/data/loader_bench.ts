/**
 * What a batch costs out of a cached token file, beside a plain copy of as many numbers.
 *
 * Plain copy: two `Int32Array.set` a window, its ids and its targets, out of an Int32Array in memory that holds the
 * same tokens widened, at the same offsets in the same order. It neither widens nor checks.
 *
 *     deno run -A tests/data/loader_bench.ts
 */
import { BatchLoader } from "../../lib/data/loader.ts";
import { TokenDataset } from "../../lib/data/shards.ts";
import { randomNumbers, testLibrary, writeTokens } from "./support.ts";

/** One measured case; times are medians of interleaved rounds. */
export interface LoaderBenchRow {
  name: string;
  /** Microseconds a batch: loader. */
  loader_us: number;
  /** Microseconds a batch: plain copy. */
  copy_us: number;
  /** loader_us / copy_us; the goal is at most 1.2. */
  ratio: number;
  /** Tokens a second through the loader, in millions. */
  mtokens_per_s: number;
}

const ROUNDS = 41;

/** Measures batches of several shapes out of files of both token widths. */
function loaderBench(): LoaderBenchRow[] {
  const folder = Deno.makeTempDirSync({ prefix: "titanbit_loader_bench_" });
  try {
    const tokens = 16 << 20;
    const random = randomNumbers(1);
    const ids = Uint32Array.from({ length: tokens }, () => random() % 32000);
    const plain = Int32Array.from(ids);
    const rows: LoaderBenchRow[] = [];
    for (const tokenWidth of [2, 4] as const) {
      const path = writeTokens(`${folder}/${tokenWidth}.tokens`, {
        ids,
        tokenWidth,
        vocabSize: 32000,
      });
      using dataset = TokenDataset.open(path, { library: testLibrary(), vocabSize: 32000 });
      for (const [batchSize, seqLen] of [[8, 256], [8, 2048], [16, 4096]] as const) {
        rows.push(measure(dataset, plain, { tokenWidth, batchSize, seqLen }));
      }
    }
    return rows;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function measure(
  dataset: TokenDataset,
  plain: Int32Array,
  shape: { tokenWidth: number; batchSize: number; seqLen: number },
): LoaderBenchRow {
  const { tokenWidth, batchSize, seqLen } = shape;
  const size = batchSize * seqLen;
  const loader = new BatchLoader(dataset, { batchSize, seqLen, seed: 5 });
  const batch = { ids: new Int32Array(size), targets: new Int32Array(size) };
  const copy = { ids: new Int32Array(size), targets: new Int32Array(size) };
  const repeats = Math.max(1, Math.round((1 << 20) / size));
  const times = { loader: [] as number[], copy: [] as number[] };
  for (let round = 0; round < ROUNDS + 4; round++) {
    const before = loader.state;
    const offsets: number[] = [];
    for (let i = 0; i < repeats; i++) {
      for (const { offset } of loader.nextWindows()) offsets.push(offset);
    }
    loader.seek(before);
    const runLoader = () => {
      for (let i = 0; i < repeats; i++) loader.next(batch);
    };
    const runCopy = () => {
      for (let i = 0, n = 0; i < repeats; i++) {
        for (let b = 0; b < batchSize; b++) {
          const offset = offsets[n++]!;
          copy.ids.set(plain.subarray(offset, offset + seqLen), b * seqLen);
          copy.targets.set(plain.subarray(offset + 1, offset + 1 + seqLen), b * seqLen);
        }
      }
    };
    // The second of the two finds what both touch in the caches: they take turns.
    const first = round % 2 === 0;
    if (!first) times.copy.push(time(runCopy));
    times.loader.push(time(runLoader));
    if (first) times.copy.push(time(runCopy));
    for (const name of ["ids", "targets"] as const) {
      if (batch[name].some((id, i) => id !== copy[name][i])) {
        throw new Error(`The loader's ${name} are not those of the plain copy`);
      }
    }
  }
  const [ours, theirs] = [times.loader, times.copy].map((list) => median(list.slice(4)) / repeats);
  return {
    name: `u${8 * tokenWidth} batch ${batchSize} x ${seqLen}`,
    loader_us: ours! * 1000,
    copy_us: theirs! * 1000,
    ratio: ours! / theirs!,
    mtokens_per_s: size / ours! / 1000,
  };
}

function time(run: () => void): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

if (import.meta.main) {
  for (const row of loaderBench()) {
    console.log(
      `${row.name.padEnd(22)} loader ${row.loader_us.toFixed(1).padStart(8)} us   plain copy ${
        row.copy_us.toFixed(1).padStart(8)
      } us   ratio ${row.ratio.toFixed(2)}   ${row.mtokens_per_s.toFixed(0)} Mtok/s`,
    );
  }
}
