import cards from "../../../python/monet_torch/cards.json";
import { formatPercent } from "../../core/units";
import { UserError } from "../../helper/user_error";
import { runHelper } from "../../helper/helper";
import { exitCodes } from "../../helper/exit";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { ProgressLine } from "../progress";
import { table } from "../table";
import { helperOptions } from "./profile";

export interface DevicesOptions {
  readonly calibrate?: boolean;
  readonly python?: string;
}

interface Calibration {
  readonly device: string;
  readonly card: string;
  readonly compute: number;
  readonly memory: number;
  readonly launch_ns: number;
  readonly file: string;
}

/** The cards that can be estimated, or how the one that is here compares with its row. */
export async function devices(io: Io, { calibrate, python }: DevicesOptions): Promise<Outcome> {
  if (calibrate === true) return calibrateHere(io, python);
  const columns = [{ title: "card" }, { title: "GiB", right: true }, { title: "GB/s", right: true }, { title: "TFLOP/s fp32", right: true }, { title: "16 bits", right: true }, { title: "from" }];
  const rows = cards.map(({ name, gib, bandwidth, fp32, half, source }) => [name, ...[gib, bandwidth, fp32, half].map(String), source]);
  return { exit: exitCodes.ok, text: `${table(columns, rows)}\n`, json: { devices: cards } };
}

async function calibrateHere(io: Io, python: string | undefined): Promise<Outcome> {
  const line = new ProgressLine(io);
  try {
    const { output } = await runHelper("calibrate", [], helperOptions(io, ".", python, line));
    const found = readCalibration(output);
    const text = `${found.device} reaches ${formatPercent(found.compute)} of the compute and ${formatPercent(found.memory)} of the bandwidth that the table has for ${found.card}; a tiny operator takes ${(found.launch_ns / 1000).toFixed(1)} µs.\nEstimates use this from now on: ${found.file}\n`;
    return { exit: exitCodes.ok, text, json: found };
  } finally {
    line.clear();
  }
}

function readCalibration(output: string): Calibration {
  try {
    return JSON.parse(output) as Calibration;
  } catch {
    throw new UserError("M706", "crash", "The Python helper did not answer with a JSON document.");
  }
}
