/**
 * The trained numbers of a model: latent weights and their gradients, each kind in one flat block, so that clipping and the
 * optimizer are one call a group.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { randomNormal } from "../kernels/random.ts";
import { Arena } from "../tensor/arena.ts";
import type { ActivationDType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Parameters that the optimizer treats alike: `projections` are the matrices that become ternary. */
export type ParameterGroup = "projections" | "embeddings" | "norms";

/** The groups in the order of their flat blocks. */
const PARAMETER_GROUPS: readonly ParameterGroup[] = ["projections", "embeddings", "norms"];

/** One named parameter, as checkpoints know it. */
export interface Parameter {
  /** Hugging Face's name, such as `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string;
  readonly group: ParameterGroup;
  readonly shape: readonly number[];
  /** float32 latent values. */
  readonly value: Tensor;
  /** Gradient in the same shape, of its group's dtype; null in a model that is not trained. */
  readonly grad: Tensor | null;
}

/** A flat block of one group: every parameter of it, back to back. */
export interface FlatGroup {
  readonly group: ParameterGroup;
  /** (n) float32. */
  readonly value: Tensor;
  /** (n) float32; bfloat16 for projections laid out so. */
  readonly grad: Tensor | null;
}

/** What {@linkcode ParameterStore.layOut} lays out. */
export interface LayOutOptions {
  /** Whether gradients are kept. */
  gradients: boolean;
  /**
   * Dtype of the projections' gradients. Those of embeddings and norms stay float32: kernels add to them row by row, many small
   * terms to one number, which bfloat16 would swallow, and they are few. @default "float32"
   */
  gradientDtype?: ActivationDType;
}

/** What a layer declares: rows of named matrices stacked on each other, or one vector. */
export interface ParameterDeclaration {
  readonly group: ParameterGroup;
  readonly parts: readonly { readonly name: string; readonly shape: readonly number[] }[];
}

interface Declared {
  readonly declaration: ParameterDeclaration;
  readonly stacked: StackedParameter;
}

/** Stacked parameters that a layer computes with as one matrix. */
export class StackedParameter {
  #value: Tensor | null = null;
  #grad: Tensor | null = null;
  #parts: readonly Parameter[] = [];

  /** All parts stacked: (sum of rows, columns), or the vector. */
  get value(): Tensor {
    if (this.#value === null) {
      throw new Error(
        "Cannot read a parameter as its model has not laid it out yet: read it in a pass, not where the layer is constructed",
      );
    }
    return this.#value;
  }

  /** The gradient of {@linkcode StackedParameter.value}; throws in a model that is not trained. */
  get grad(): Tensor {
    if (this.#grad === null) {
      throw new Error(
        "Cannot run a backward pass as the model was created with training: false",
      );
    }
    return this.#grad;
  }

  /** The named parameters, in stacking order. */
  get parts(): readonly Parameter[] {
    return this.#parts;
  }

  /** Called once by {@linkcode ParameterStore.layOut}. */
  resolve(value: Tensor, grad: Tensor | null, parts: readonly Parameter[]): void {
    this.#value = value;
    this.#grad = grad;
    this.#parts = parts;
  }
}

/** Collects what the layers declare, lays it out by group, and owns the memory. */
export class ParameterStore implements Disposable {
  readonly #declared: Declared[] = [];
  readonly #values = new Arena("weights");
  readonly #gradients = new Arena("gradients");
  #groups: readonly FlatGroup[] = [];
  #all: readonly Parameter[] = [];

  /** Every parameter, in the order the layers declared them. */
  get all(): readonly Parameter[] {
    return this.#all;
  }

  /** The flat blocks of the groups that have parameters. */
  get groups(): readonly FlatGroup[] {
    return this.#groups;
  }

  /** Bytes of the latent weights and of their gradients. */
  get bytes(): { weights: number; gradients: number } {
    return { weights: this.#values.bytes, gradients: this.#gradients.bytes };
  }

  /** Number of trained values. */
  get count(): number {
    return this.#groups.reduce((sum, group) => sum + group.value.length, 0);
  }

  /** The parameter of a name. Throws `RangeError` where there is none. */
  get(name: string): Parameter {
    const parameter = this.#all.find((candidate) => candidate.name === name);
    if (parameter === undefined) {
      throw new RangeError(
        `Cannot find parameter ${name}: the model has ${this.#all.length} others`,
      );
    }
    return parameter;
  }

  /** Announces parameters; they have memory after {@linkcode ParameterStore.layOut}. */
  declare(declaration: ParameterDeclaration): StackedParameter {
    const stacked = new StackedParameter();
    this.#declared.push({ declaration, stacked });
    return stacked;
  }

  /** Gives every declared parameter its place in its group's flat block. */
  layOut(options: LayOutOptions): void {
    const { gradients, gradientDtype = "float32" } = options;
    const groups: FlatGroup[] = [];
    for (const group of PARAMETER_GROUPS) {
      const members = this.#declared.filter((member) => member.declaration.group === group);
      const length = members.reduce((sum, member) => sum + lengthOf(member.declaration), 0);
      if (length === 0) continue;
      const value = this.#values.tensor(group, "float32", [length]);
      const dtype = group === "projections" ? gradientDtype : "float32";
      const grad = gradients ? this.#gradients.tensor(`${group}.grad`, dtype, [length]) : null;
      groups.push({ group, value, grad });
      let offset = 0;
      for (const { declaration, stacked } of members) {
        const shape = stackedShape(declaration);
        const name = declaration.parts.map((part) => part.name).join(" + ");
        const views = {
          value: value.view(shape, { offset, name }),
          grad: grad?.view(shape, { offset, name: `${name}.grad` }) ?? null,
        };
        stacked.resolve(views.value, views.grad, partsOf(declaration, views));
        offset += lengthOf(declaration);
      }
    }
    this.#groups = groups;
    this.#all = this.#declared.flatMap(({ stacked }) => stacked.parts);
  }

  /** Takes the memory on a device. */
  commit(device: Device): void {
    this.#values.commit(device);
    this.#gradients.commit(device);
  }

  /**
   * Sets matrices to N(0, std²) and norm weights to 1. Each parameter draws from a stream of its own, so its values depend on
   * the seed, its name's place and nothing else.
   */
  initialize(options: { seed: number; std: number }): void {
    const { std } = options;
    const seed = BigInt(options.seed);
    for (const [stream, parameter] of this.#all.entries()) {
      if (parameter.group === "norms") {
        parameter.value.upload(new Float32Array(parameter.value.length).fill(1));
      } else {
        randomNormal({ to: parameter.value, std, seed, stream: BigInt(stream) });
      }
    }
  }

  /** Sets every gradient to 0, or those of some groups. */
  zeroGradients(options: { groups?: readonly ParameterGroup[] } = {}): void {
    if (options.groups === undefined) return this.#gradients.zero();
    for (const { group, grad } of this.#groups) {
      if (options.groups.includes(group)) grad?.zero();
    }
  }

  [Symbol.dispose](): void {
    this.#values[Symbol.dispose]();
    this.#gradients[Symbol.dispose]();
  }
}

function partsOf(
  declaration: ParameterDeclaration,
  stacked: { value: Tensor; grad: Tensor | null },
): Parameter[] {
  let offset = 0;
  return declaration.parts.map(({ name, shape }) => {
    const parameter = {
      name,
      shape,
      group: declaration.group,
      value: stacked.value.view(shape, { offset, name }),
      grad: stacked.grad?.view(shape, { offset, name: `${name}.grad` }) ?? null,
    };
    offset += parameter.value.length;
    return parameter;
  });
}

function lengthOf(declaration: ParameterDeclaration): number {
  return stackedShape(declaration).reduce((product, size) => product * size, 1);
}

function stackedShape(declaration: ParameterDeclaration): readonly number[] {
  const [first, ...others] = declaration.parts;
  if (first === undefined) {
    throw new RangeError(
      "Cannot declare parameters as there must be one at least: current value is none",
    );
  }
  const rows = others.reduce((sum, part) => sum + (part.shape[0] ?? 0), first.shape[0] ?? 0);
  return [rows, ...first.shape.slice(1)];
}
