/** A loss with smoothed labels, and projections with metrics of their own: all of ops. */

import { layers as logging } from "./logging_layers.ts";
import { layers as smooth } from "./smooth_layers.ts";

export const layers = { ...logging, ...smooth };
