/**
 * What the machine is doing while a run trains: memory, disk, and the card by NVML.
 *
 * @module
 */

import { statfsSync } from "node:fs";
import { dirname } from "@std/path";
import { CardMonitor, type CardReading } from "../ffi/nvml.ts";
import type { CardFigures, HostFigures, MachineRecord, MetricsRecord } from "../metrics/records.ts";
import { hostMemory } from "./host_memory.ts";
import { isGranted } from "./permission.ts";

/** Options of {@linkcode MachineWatch}. */
export interface MachineWatchOptions {
  /** Seconds between records; 0 makes none. */
  readonly everyS: number;
  /** Folder of the run's checkpoints; it may not be there yet. */
  readonly folder: string;
  /** NVML's file. @default the driver's */
  readonly nvml?: string;
  /** Told of each record. */
  record(record: MachineRecord): void;
  /** Told once where there will be no more records. */
  warn(message: string): void;
}

/** Makes records of the machine from a run's first record to its last, beside the training thread. */
export class MachineWatch implements Disposable {
  readonly #options: MachineWatchOptions;
  #card: CardMonitor | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Optimizer steps done, as the run's records tell. */
  #step = 0;

  constructor(options: MachineWatchOptions) {
    this.#options = options;
  }

  /** Follows a run: its first record begins the watch, the event of its end ends it, the others tell how far it is. */
  follow(record: MetricsRecord): void {
    const undone = record.type === "stability" && record.event === "rollback";
    this.#step = undone ? record.to_step : record.step;
    if (record.type === "event") this[Symbol.dispose]();
    if (record.type === "run" && this.#timer === undefined && this.#options.everyS > 0) {
      // By now the training thread has the card open: the driver is awake, and NVML opens at once.
      const { pci_bus_id: card } = record;
      if (typeof card === "string" && isGranted({ name: "ffi" })) {
        this.#card = CardMonitor.open(card, {
          ...(this.#options.nvml !== undefined && { library: this.#options.nvml }),
        });
      }
      this.#timer = setInterval(() => this.#read(), 1000 * this.#options.everyS);
      this.#read();
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#card?.[Symbol.dispose]();
    this.#card = null;
  }

  #read(): void {
    let figures: HostFigures & CardFigures;
    try {
      figures = {
        ...hostFigures(this.#options.folder),
        ...cardFigures(this.#card?.read() ?? null),
      };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.warn(
        `Cannot read the machine's figures: ${reason}; training goes on without them`,
      );
      this[Symbol.dispose]();
      return;
    }
    const time = new Date().toISOString();
    this.#options.record({ type: "machine", step: this.#step, time, ...figures });
  }
}

/** Figures of the host; null where asking is not allowed or the system does not tell. */
export function hostFigures(folder: string): HostFigures {
  const memory = hostMemory();
  return {
    host_memory_total_bytes: memory?.total ?? null,
    host_memory_used_bytes: memory === null ? null : memory.total - memory.available,
    host_memory_available_bytes: memory?.available ?? null,
    disk_available_bytes: availableDisk(folder),
    process_rss_bytes: Deno.memoryUsage().rss,
  };
}

/** Figures of a card, by the names of records. */
export function cardFigures(reading: CardReading | null): CardFigures {
  return {
    gpu_power_w: reading?.powerW ?? null,
    gpu_temperature_c: reading?.temperatureC ?? null,
    gpu_sm_clock_mhz: reading?.smClockMhz ?? null,
    gpu_memory_clock_mhz: reading?.memoryClockMhz ?? null,
    gpu_utilisation_percent: reading?.utilisationPercent ?? null,
    gpu_memory_used_bytes: reading?.memoryUsedBytes ?? null,
    gpu_memory_total_bytes: reading?.memoryTotalBytes ?? null,
    gpu_ecc_corrected: reading?.eccCorrected ?? null,
    gpu_ecc_uncorrected: reading?.eccUncorrected ?? null,
    gpu_throttle_reasons: reading?.clockReasons ?? null,
  };
}

/** Of the folder, or of the nearest one above it that is there. */
function availableDisk(folder: string): number | null {
  // The kind is younger than Deno's own list of them.
  if (!isGranted({ name: "sys", kind: "statfs" } as unknown as Deno.SysPermissionDescriptor)) {
    return null;
  }
  for (let path = folder;; path = dirname(path)) {
    try {
      const { bavail, bsize } = statfsSync(path);
      return bavail * bsize;
    } catch {
      if (path === dirname(path)) return null;
    }
  }
}
