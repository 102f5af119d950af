/** A loss with smoothed labels, as docs/research.md has it. */

import { crossEntropy, type Layers } from "../../mod.ts";

export const layers: Partial<Layers> = {
  loss({ logits, targets, loss, dlogits, scale }) {
    crossEntropy({ logits, targets, loss, dlogits, gradScale: scale, smoothing: 0.2 });
  },
};
