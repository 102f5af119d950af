import { assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import { embeddingBackward, embeddingForward } from "../../../lib/kernels/embedding.ts";
import { assertAsGoodAsPlain, assertSame } from "../../support/compare.ts";
import { assertSameForThreads, onEveryDevice, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { exact, type Round, single } from "../../support/round.ts";
import { GuardedMemory } from "../../support/sentinel.ts";

const CASES = [
  { N: 1, D: 1, V: 1 },
  { N: 7, D: 3, V: 2 },
  { N: 67, D: 33, V: 11 },
  { N: 300, D: 100, V: 5 },
  { N: 13, D: 17, V: 1009 },
];

interface Case {
  N: number;
  D: number;
  V: number;
}

function inputsOf({ N, D, V }: Case, random: Random) {
  return {
    ids: random.int32s(N, 0, V - 1),
    table: random.normals(V * D),
    dout: random.normals(N * D),
  };
}

type Inputs = ReturnType<typeof inputsOf>;

function runForward(device: Device, { N, D, V }: Case, inputs: Inputs) {
  using memory = new GuardedMemory(device);
  const out = memory.output("out", "float32", [N, D]);
  embeddingForward({
    ids: memory.input("ids", [N], inputs.ids),
    table: memory.input("table", [V, D], inputs.table),
    out,
  });
  memory.check();
  return out.toFloat32Array();
}

function runBackward(device: Device, { N, D, V }: Case, inputs: Inputs) {
  using memory = new GuardedMemory(device);
  const dtable = memory.inout("dtable", [V, D], inputs.table);
  embeddingBackward({
    ids: memory.input("ids", [N], inputs.ids),
    dout: memory.input("dout", [N, D], inputs.dout),
    dtable,
  });
  memory.check();
  return dtable.toFloat32Array();
}

function scattered({ D }: Case, inputs: Inputs, round: Round): Float64Array {
  const table = Float64Array.from(inputs.table);
  inputs.ids.forEach((id, row) => {
    for (let j = 0; j < D; j++) {
      table[id * D + j] = round(table[id * D + j]! + inputs.dout[row * D + j]!);
    }
  });
  return table;
}

Deno.test(
  "embeddingForward() copies the rows of its ids at awkward shapes",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      const expected = Array.from(inputs.ids).flatMap(
        (id) => [...inputs.table.subarray(id * shape.D, (id + 1) * shape.D)],
      );
      onEveryDevice((device) => {
        assertSame({ name: "out", actual: runForward(device, shape, inputs), expected });
      });
    }
  }),
);

Deno.test(
  "embeddingBackward() adds rows in the order of their tokens, as plain float32 does",
  withRandom((random) => {
    for (const shape of CASES) {
      const inputs = inputsOf(shape, random);
      onEveryDevice((device) => {
        const actual = runBackward(device, shape, inputs);
        assertSame({ name: "dtable", actual, expected: scattered(shape, inputs, single) });
      });
    }
  }),
);

Deno.test(
  "embeddingBackward() is the transpose of the forward pass",
  withRandom((random) => {
    const shape = { N: 97, D: 19, V: 7 };
    const inputs = inputsOf(shape, random);
    using device = openCpu();
    assertAsGoodAsPlain({
      name: "dtable",
      actual: runBackward(device, shape, inputs),
      expected: scattered(shape, inputs, exact),
      plain: scattered(shape, inputs, single),
    });
  }),
);

Deno.test(
  "embedding gives the same bits when threads differ",
  withRandom((random) => {
    const shape = { N: 311, D: 101, V: 17 };
    const inputs = inputsOf(shape, random);
    assertSameForThreads((device) => ({
      out: runForward(device, shape, inputs),
      dtable: runBackward(device, shape, inputs),
    }));
  }),
);

for (const bad of [-1, 4, 2 ** 31 - 1]) {
  Deno.test(
    `embeddingForward() refuses and writes nothing when an id of a table of 4 is ${bad}`,
    withRandom((random) => {
      using device = openCpu();
      using memory = new GuardedMemory(device);
      const out = memory.inout("out", [3, 2], new Float32Array(6).fill(5));
      const ids = memory.input("ids", [3], Int32Array.from([0, bad, 1]));
      const table = memory.input("table", [4, 2], random.normals(8));
      assertThrows(() => embeddingForward({ ids, table, out }), NativeError, `at 1 is ${bad}`);
      assertEquals([...out.toFloat32Array()], Array(6).fill(5));
    }),
  );
}
