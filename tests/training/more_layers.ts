/** A last feed-forward layer that declares parameters of every kind, and computes nothing with them. */

import { FeedForward, type Layers } from "../../mod.ts";

export const layers: Partial<Layers> = {
  feedForward(context, layer) {
    if (layer === 1) {
      const { parameters } = context;
      const part = (name: string, shape: readonly number[]) => [{ name: `more.${name}`, shape }];
      parameters.declare({ group: "norms", parts: part("norm", [3]) });
      parameters.declare({ group: "projections", parts: part("matrix", [5, 7]), initial: 0.25 });
      parameters.declare({ group: "kept", parts: part("kept", [2, 2]), initial: 2 });
      parameters.declare({ group: "shrunk", parts: part("shrunk", [4]), initial: 2, decay: true });
    }
    return new FeedForward(context, layer);
  },
};
