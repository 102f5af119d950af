/**
 * NVML, the driver's own monitor of cards, where there is a driver. It is opened at run time; without it there are no figures,
 * and nothing else depends on it.
 *
 * The card is found by its PCI address, as the native library tells it: NVML counts all cards in the order of their addresses,
 * CUDA those of `CUDA_VISIBLE_DEVICES` with the fastest first.
 *
 * @module
 */

const SYMBOLS = {
  nvmlInit_v2: {
    parameters: [],
    result: "i32", // nvmlReturn_t, 0 for success
  },
  nvmlShutdown: {
    parameters: [],
    result: "i32",
  },
  nvmlDeviceGetHandleByPciBusId_v2: {
    parameters: [
      "buffer", // const char* pci_bus_id
      "buffer", // nvmlDevice_t* device
    ],
    result: "i32",
  },
  nvmlDeviceGetPowerUsage: {
    parameters: [
      "u64", // nvmlDevice_t device
      "buffer", // unsigned int* milliwatts
    ],
    result: "i32",
  },
  nvmlDeviceGetTemperature: {
    parameters: [
      "u64", // nvmlDevice_t device
      "u32", // nvmlTemperatureSensors_t sensor
      "buffer", // unsigned int* celsius
    ],
    result: "i32",
  },
  nvmlDeviceGetClockInfo: {
    parameters: [
      "u64", // nvmlDevice_t device
      "u32", // nvmlClockType_t type
      "buffer", // unsigned int* mhz
    ],
    result: "i32",
  },
  nvmlDeviceGetUtilizationRates: {
    parameters: [
      "u64", // nvmlDevice_t device
      "buffer", // nvmlUtilization_t* { unsigned int gpu, memory } in percent
    ],
    result: "i32",
  },
  nvmlDeviceGetMemoryInfo: {
    parameters: [
      "u64", // nvmlDevice_t device
      "buffer", // nvmlMemory_t* { unsigned long long total, free, used } in bytes
    ],
    result: "i32",
  },
  nvmlDeviceGetTotalEccErrors: {
    parameters: [
      "u64", // nvmlDevice_t device
      "u32", // nvmlMemoryErrorType_t type
      "u32", // nvmlEccCounterType_t counter
      "buffer", // unsigned long long* errors
    ],
    result: "i32",
  },
  // One function under two names: drivers from 535 on have the first, the second may go.
  nvmlDeviceGetCurrentClocksEventReasons: {
    parameters: [
      "u64", // nvmlDevice_t device
      "buffer", // unsigned long long* reasons
    ],
    result: "i32",
    optional: true,
  },
  nvmlDeviceGetCurrentClocksThrottleReasons: {
    parameters: [
      "u64", // nvmlDevice_t device
      "buffer", // unsigned long long* reasons
    ],
    result: "i32",
    optional: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** As every Linux driver names it; the loader searches its own folders. */
const NAME = "libnvidia-ml.so.1";
const SUCCESS = 0;
const TEMPERATURE_GPU = 0;
const CLOCK_SM = 1;
const CLOCK_MEMORY = 2;
const CORRECTED = 0;
const UNCORRECTED = 1;
/** Since the driver was loaded. */
const VOLATILE = 0;

/** Why clocks are low, by the bits of nvml.h. */
export const CLOCK_REASONS = [
  [0x1n, "idle"],
  [0x2n, "clocks_setting"],
  [0x4n, "sw_power_cap"],
  [0x8n, "hw_slowdown"],
  [0x10n, "sync_boost"],
  [0x20n, "sw_thermal"],
  [0x40n, "hw_thermal"],
  [0x80n, "hw_power_brake"],
  [0x100n, "display_clocks"],
] as const;

/** A name of {@linkcode CLOCK_REASONS}, or `unknown` for bits that are not among them. */
export type ClockReason = typeof CLOCK_REASONS[number][1] | "unknown";

/** What a card tells of itself; null where it does not. */
export interface CardReading {
  /** Watts, over the last moment; some cards average over a second. */
  readonly powerW: number | null;
  /** Degrees Celsius of the chip. */
  readonly temperatureC: number | null;
  /** MHz of the multiprocessors. */
  readonly smClockMhz: number | null;
  /** MHz of the memory. */
  readonly memoryClockMhz: number | null;
  /** Percent of the driver's last sample period in which a kernel ran. */
  readonly utilisationPercent: number | null;
  /** Bytes in use, the driver's own among them. */
  readonly memoryUsedBytes: number | null;
  readonly memoryTotalBytes: number | null;
  /** Errors since the driver was loaded. */
  readonly eccCorrected: number | null;
  readonly eccUncorrected: number | null;
  /** Why clocks are low; empty where they are not. */
  readonly clockReasons: readonly ClockReason[] | null;
}

/** One card's figures, as NVML has them. */
export class CardMonitor implements Disposable {
  readonly #library: Deno.DynamicLibrary<typeof SYMBOLS>;
  readonly #device: bigint;
  #open = true;

  private constructor(library: Deno.DynamicLibrary<typeof SYMBOLS>, device: bigint) {
    this.#library = library;
    this.#device = device;
  }

  /**
   * Opens the card at a PCI address such as `0000:c1:00.0`; null where there is no NVML, or no such card in it.
   *
   * @param options.library The library's file. @default the driver's
   */
  static open(pciBusId: string, options: { library?: string } = {}): CardMonitor | null {
    let library: Deno.DynamicLibrary<typeof SYMBOLS>;
    try {
      library = Deno.dlopen(options.library ?? NAME, SYMBOLS);
    } catch (error) {
      // A permission that is missing is no missing library.
      if (error instanceof Deno.errors.NotCapable) throw error;
      return null;
    }
    const { symbols } = library;
    if (symbols.nvmlInit_v2() !== SUCCESS) {
      library.close();
      return null;
    }
    const device = new BigUint64Array(1);
    const name = new TextEncoder().encode(`${pciBusId}\0`);
    if (symbols.nvmlDeviceGetHandleByPciBusId_v2(name, device) !== SUCCESS) {
      symbols.nvmlShutdown();
      library.close();
      return null;
    }
    return new CardMonitor(library, device[0]!);
  }

  /** Reads every figure now. */
  read(): CardReading {
    if (!this.#open) throw new TypeError("Cannot read a card's figures as its monitor is closed");
    const device = this.#device;
    const { symbols } = this.#library;
    const one = new Uint32Array(2);
    const wide = new BigUint64Array(3);
    const ifRead = <T>(status: number, value: () => T) => status === SUCCESS ? value() : null;
    const clock = (type: number) =>
      ifRead(symbols.nvmlDeviceGetClockInfo(device, type, one), () => one[0]!);
    const ecc = (type: number) =>
      ifRead(
        symbols.nvmlDeviceGetTotalEccErrors(device, type, VOLATILE, wide),
        () => Number(wide[0]!),
      );
    const powerMw = ifRead(symbols.nvmlDeviceGetPowerUsage(device, one), () => one[0]!);
    return {
      powerW: powerMw === null ? null : powerMw / 1000,
      temperatureC: ifRead(
        symbols.nvmlDeviceGetTemperature(device, TEMPERATURE_GPU, one),
        () => one[0]!,
      ),
      smClockMhz: clock(CLOCK_SM),
      memoryClockMhz: clock(CLOCK_MEMORY),
      utilisationPercent: ifRead(
        symbols.nvmlDeviceGetUtilizationRates(device, one),
        () => one[0]!,
      ),
      ...this.#memory(wide),
      eccCorrected: ecc(CORRECTED),
      eccUncorrected: ecc(UNCORRECTED),
      clockReasons: this.#clockReasons(wide),
    };
  }

  /** Closes NVML. Further calls do nothing. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#library.symbols.nvmlShutdown();
    this.#library.close();
  }

  #memory(wide: BigUint64Array<ArrayBuffer>) {
    const status = this.#library.symbols.nvmlDeviceGetMemoryInfo(this.#device, wide);
    const known = status === SUCCESS;
    return {
      memoryUsedBytes: known ? Number(wide[2]!) : null,
      memoryTotalBytes: known ? Number(wide[0]!) : null,
    };
  }

  #clockReasons(wide: BigUint64Array<ArrayBuffer>): ClockReason[] | null {
    const { symbols } = this.#library;
    const ask = symbols.nvmlDeviceGetCurrentClocksEventReasons ??
      symbols.nvmlDeviceGetCurrentClocksThrottleReasons;
    if (ask === null || ask(this.#device, wide) !== SUCCESS) return null;
    const bits = wide[0]!;
    const known = CLOCK_REASONS.filter(([bit]) => (bits & bit) !== 0n);
    const rest = known.reduce((left, [bit]) => left & ~bit, bits);
    return [...known.map(([, name]) => name), ...(rest === 0n ? [] : ["unknown" as const])];
  }
}
