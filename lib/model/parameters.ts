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
import { describeValue } from "../std/describe.ts";

/**
 * Parameters that the optimizer treats alike: `projections`, the matrices that become ternary,
 * `embeddings`, `norms`, or a name of a layer's own, of lower-case letters, digits and underscores.
 */
export type ParameterGroup = string;

/**
 * BitNet's groups, in the order of their flat blocks; a program's own follow in the order in which
 * they were declared.
 */
const BITNET_GROUPS: readonly ParameterGroup[] = ["projections", "embeddings", "norms"];
const OWN_GROUP = /^[a-z][a-z0-9_]*$/;
/**
 * First random stream of parameters in groups of a program's own: BitNet's draw the same values
 * with them and without.
 */
const OWN_STREAM = 2n ** 32n;

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
  /** Elements before it in the flat block of its group. */
  readonly offset: number;
}

/** Elements `from` to `to` (exclusive) of a flat block. */
export interface FlatRange {
  readonly from: number;
  readonly to: number;
}

/**
 * First values of a parameter: all the same number, or drawn from N(0, std²) by the model's seed.
 */
export type InitialValues = number | { readonly std: number };

/** A flat block of one group: every parameter of it, back to back. */
export interface FlatGroup {
  readonly group: ParameterGroup;
  /** (n) float32. */
  readonly value: Tensor;
  /** (n) float32; bfloat16 for projections laid out so. */
  readonly grad: Tensor | null;
  /** Whether weight decay goes for it. */
  readonly decay: boolean;
  /** What is not frozen, in order; neighbours are one range. */
  readonly trained: readonly FlatRange[];
}

/** What {@linkcode ParameterStore.layOut} lays out. */
export interface LayOutOptions {
  /** Whether gradients are kept. */
  gradients: boolean;
  /**
   * Dtype of the projections' gradients. Those of all others stay float32: kernels add to them row
   * by row, many small terms to one number, which bfloat16 would swallow, and they are few.
   * @default "float32"
   */
  gradientDtype?: ActivationDType;
}

/** What a layer declares: rows of named matrices stacked on each other, or one vector. */
export interface ParameterDeclaration {
  readonly group: ParameterGroup;
  readonly parts: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /**
   * Required in a group of one's own. @default 1 for norms, else N(0, initStd²)
   */
  readonly initial?: InitialValues;
  /**
   * Whether weight decay goes for it, the same for all of a group. @default true for projections
   * and embeddings, else false
   */
  readonly decay?: boolean;
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
  readonly #frozen = new Set<string>();
  readonly #initial = new Map<string, InitialValues>();
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

  /** Names of the parameters that are frozen. */
  get frozen(): ReadonlySet<string> {
    return this.#frozen;
  }

  /**
   * Leaves parameters as they are from the next update on: out of the gradient norm, of weight
   * decay and of the update. Their gradients are computed and their moments kept all the same, so
   * that they can be trained again.
   *
   * @param pattern A name, in which `*` stands for any text. Throws `RangeError` where it is no
   * parameter's.
   */
  freeze(pattern: string): void {
    for (const { name } of this.#matching(pattern)) this.#frozen.add(name);
    this.#findTrained();
  }

  /** Trains frozen parameters again; `pattern` as for {@linkcode ParameterStore.freeze}. */
  unfreeze(pattern: string): void {
    for (const { name } of this.#matching(pattern)) this.#frozen.delete(name);
    this.#findTrained();
  }

  /**
   * Announces parameters; they have memory after {@linkcode ParameterStore.layOut}. But for those
   * of projections, gradients are float32, and a backward pass adds to them: they are 0 before a
   * step's first one.
   *
   * Throws `RangeError` for a name that was declared before, a shape without elements, a group of
   * one's own without `initial`, or with another `decay` than it has already.
   */
  declare(declaration: ParameterDeclaration): StackedParameter {
    this.#check(declaration);
    const stacked = new StackedParameter();
    this.#declared.push({ declaration, stacked });
    const { parts, initial } = declaration;
    if (initial !== undefined) { for (const { name } of parts) this.#initial.set(name, initial); }
    return stacked;
  }

  /** Gives every declared parameter its place in its group's flat block. */
  layOut(options: LayOutOptions): void {
    const { gradients, gradientDtype = "float32" } = options;
    const groups: FlatGroup[] = [];
    const own = this.#declared.map(({ declaration }) => declaration.group);
    for (const group of new Set([...BITNET_GROUPS, ...own])) {
      const members = this.#declared.filter((member) => member.declaration.group === group);
      const length = members.reduce((sum, member) => sum + lengthOf(member.declaration), 0);
      if (length === 0) continue;
      const value = this.#values.tensor(group, "float32", [length]);
      const dtype = group === "projections" ? gradientDtype : "float32";
      const grad = gradients ? this.#gradients.tensor(`${group}.grad`, dtype, [length]) : null;
      const decay = decayOf(members[0]!.declaration);
      groups.push({ group, value, grad, decay, trained: [{ from: 0, to: length }] });
      let offset = 0;
      for (const { declaration, stacked } of members) {
        const shape = stackedShape(declaration);
        const name = declaration.parts.map((part) => part.name).join(" + ");
        const views = {
          value: value.view(shape, { offset, name }),
          grad: grad?.view(shape, { offset, name: `${name}.grad` }) ?? null,
        };
        stacked.resolve(views.value, views.grad, partsOf(declaration, { ...views, offset }));
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
   * Sets matrices to N(0, std²), norm weights to 1, and others as they were declared. Each
   * parameter draws from a stream of its own, so its values depend on the seed, its name's place
   * among BitNet's groups, or among a program's own, and nothing else.
   */
  initialize(options: { seed: number; std: number }): void {
    const seed = BigInt(options.seed);
    let [stream, ownStream] = [0n, OWN_STREAM];
    for (const { name, group, value } of this.#all) {
      const ofParameter = BITNET_GROUPS.includes(group) ? stream++ : ownStream++;
      const initial = this.#initial.get(name) ?? (group === "norms" ? 1 : { std: options.std });
      if (typeof initial === "number") {
        value.upload(new Float32Array(value.length).fill(initial));
      } else {
        randomNormal({ to: value, std: initial.std, seed, stream: ofParameter });
      }
    }
  }

  /** Sets every gradient to 0, or all but those of some groups. */
  zeroGradients(options: { except?: readonly ParameterGroup[] } = {}): void {
    if (options.except === undefined) return this.#gradients.zero();
    for (const { group, grad } of this.#groups) {
      if (!options.except.includes(group)) grad?.zero();
    }
  }

  [Symbol.dispose](): void {
    this.#values[Symbol.dispose]();
    this.#gradients[Symbol.dispose]();
  }

  #matching(pattern: string): Parameter[] {
    const literal = pattern.split("*").map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
    const whole = new RegExp(`^${literal.join(".*")}$`, "s");
    const found = this.#all.filter(({ name }) => whole.test(name));
    if (found.length > 0) return found;
    throw new RangeError(
      `Cannot find ${pattern} as it must be the name of a parameter, or a pattern of one: the model has ${this.#all.length}, such as ${
        this.#all[0]?.name
      }`,
    );
  }

  #findTrained(): void {
    this.#groups = this.#groups.map((flat) => {
      const trained: { from: number; to: number }[] = [];
      for (const { name, group, offset, value } of this.#all) {
        if (group !== flat.group || this.#frozen.has(name)) continue;
        const last = trained.at(-1);
        if (last?.to === offset) last.to += value.length;
        else trained.push({ from: offset, to: offset + value.length });
      }
      return { ...flat, trained };
    });
  }

  #check(declaration: ParameterDeclaration): void {
    const { group, parts, initial } = declaration;
    const refuse = (rule: string, found: unknown): never => {
      const what = parts.map(({ name }) => name).join(" + ");
      throw new RangeError(
        `Cannot declare ${what} as ${rule}: current value is ${describeValue(found)}`,
      );
    };
    if (!BITNET_GROUPS.includes(group)) {
      if (!OWN_GROUP.test(group)) {
        refuse(`its group must be ${BITNET_GROUPS.join(", ")}, or a name such as my_scales`, group);
      }
      if (initial === undefined) {
        refuse(`\`initial\` must give the first values of group ${group}`, initial);
      }
    }
    const first = typeof initial === "object" ? initial.std : initial ?? 0;
    if (!Number.isFinite(first)) refuse("its first values must be finite", String(first));
    const taken = new Set(this.#declared.flatMap(namesOf));
    for (const { name, shape } of parts) {
      if (taken.has(name)) refuse("each parameter must have a name of its own", name);
      taken.add(name);
      if (shape.length === 0 || shape.some((size) => !Number.isInteger(size) || size < 1)) {
        refuse(`the shape of ${name} must be whole numbers above 0`, shape);
      }
    }
    const other = this.#declared.find((member) => member.declaration.group === group);
    if (other !== undefined && decayOf(other.declaration) !== decayOf(declaration)) {
      refuse(
        `decay must be ${decayOf(other.declaration)}, as for ${
          namesOf(other)[0]
        } of the same group ${group}`,
        decayOf(declaration),
      );
    }
  }
}

function namesOf({ declaration }: Declared): string[] {
  return declaration.parts.map(({ name }) => name);
}

function decayOf({ group, decay }: ParameterDeclaration): boolean {
  return decay ?? (group === "projections" || group === "embeddings");
}

function partsOf(
  declaration: ParameterDeclaration,
  stacked: { value: Tensor; grad: Tensor | null; offset: number },
): Parameter[] {
  let offset = 0;
  return declaration.parts.map(({ name, shape }) => {
    const parameter = {
      name,
      shape,
      group: declaration.group,
      value: stacked.value.view(shape, { offset, name }),
      grad: stacked.grad?.view(shape, { offset, name: `${name}.grad` }) ?? null,
      offset: stacked.offset + offset,
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
