/** Projections with a scale for each row, as docs/research.md has them. */

import { BitLinear, type Layers, quantizeWeight } from "../../mod.ts";

class RowBitLinear extends BitLinear {
  override prepare(): void {
    for (const { w, q, scale } of this.matrices()) {
      for (let row = 0; row < scale.length; row++) {
        const [from, to] = [row, row + 1];
        quantizeWeight({ w: w.rows(from, to), q: q.rows(from, to), scale: scale.rows(from, to) });
      }
    }
  }
}

export const layers: Partial<Layers> = { projection: (spec) => new RowBitLinear(spec) };
