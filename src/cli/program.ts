/** The command line: arguments in, one outcome out. */
import { Command, CommanderError, Option } from "commander";
import { optimizers } from "../core/config";
import { Cancelled, coded, unexpected, UserError } from "../helper/user_error";
import { devices, type DevicesOptions } from "./commands/devices";
import { exportPlan, type ExportOptions } from "./commands/export";
import { models } from "./commands/models";
import { optimize, type OptimizeOptions } from "./commands/optimize";
import { plan, type PlanOptions } from "./commands/plan";
import { profile, type ProfileOptions } from "./commands/profile";
import { show, type ShowOptions } from "./commands/show";
import { verify, type VerifyOptions } from "./commands/verify";
import { exitCodeOf, exitCodes, type ExitCode } from "../helper/exit";
import type { Io } from "./io";
import type { Outcome } from "./outcome";
import type { Solver } from "./solving";

/** The row of docs/errors.md for a command, an option or a value that there isn't. */
const wrongCommand = "M622";

const collect = (value: string, before: readonly string[]): string[] => [...before, value];

const profileOptions = (): Option[] => [
  new Option("--input <spec>", 'an input of the model, as "float32[8,3,224,224]" or "int64[2,256]<50257"; once per input').default([]).argParser(collect),
  new Option("--kwargs <json>", "arguments for the model's class or function"),
  new Option("--loss <name>", "a function or class that the file defines or imports, as F.cross_entropy (without it: the sum of the outputs)"),
  new Option("--target <spec>", "what the loss takes besides the output, written like an input; once per target").default([]).argParser(collect),
  new Option("--part <name>", "only this submodule, or the first of several alike, as encoder.layers.*; the rest runs as eager does"),
  new Option("--optimizer <name>", "whose states to count").choices(optimizers),
  new Option("--autocast <type>", "run under autocast").choices(["bf16", "fp16"]),
  new Option("--device <name>", "cpu, cuda, cuda:1, or a device to estimate for"),
  new Option("--gradients <when>", "parameter gradients are there when the step starts (accumulate, the default) or appear during backward (fresh)").choices(["fresh", "accumulate"]),
  new Option("--threads <n>", "threads that torch may use"),
  new Option("--offload", "measure copies to host memory too, so that plans may move tensors there and back"),
  new Option("--cache <folder>", "where measured operators are remembered"),
  new Option("--no-cache", "measure every operator again"),
];

const exactnessOption = (): Option =>
  new Option("--exactness <least>", "which gradients are allowed: equal to eager's bit for bit, up to the order of sums, or close")
    .choices(["bitwise", "same-kernel", "approximate"])
    .default("bitwise");
const pythonOption = (): Option => new Option("--python <path>", "the Python that has your torch");
const jsonOption = (): Option => new Option("--json", "print one JSON document instead of text");

function withOptions(command: Command, options: readonly Option[]): Command {
  for (const option of options) command.addOption(option);
  return command;
}

/** commander hands over untyped options; each command's own are those that are declared right here. */
type Run = (outcome: Promise<Outcome> | Outcome) => void;

function build(io: Io, solver: Solver, run: Run): Command {
  const program = new Command("monet")
    .description("Train PyTorch models in less memory: see where it goes, choose a budget, get a schedule that fits it.")
    .showHelpAfterError("(add --help to see how it is used)")
    .helpCommand(false);
  const command = (name: string, text: string): Command => program.command(name).description(text);

  withOptions(command("models <path>", "list the models of a file or folder, with their layers"), [jsonOption()]).action((path: string) => {
    run(models(io, path));
  });
  withOptions(command("profile <target>", "trace FILE:MODEL and measure every operator"), [
    ...profileOptions(),
    pythonOption(),
    new Option("--out <file>", "where the training graph goes"),
    jsonOption(),
  ]).action((target: string, options: ProfileOptions) => {
    run(profile(io, target, options));
  });
  withOptions(command("plan <graph>", "find the fastest schedule that fits a budget"), [
    new Option("--budget <size>", "peak of the device (6GiB), share of what activations take (60%), max for the fastest, or eager"),
    new Option("--frontier", "plans for all budgets, from the least memory to no overhead"),
    new Option("--no-offload", "move nothing to host memory, though the graph was profiled with --offload"),
    new Option("--recompute-only", "nor use other implementations than eager's: only choose what to keep and what to make again"),
    new Option("--batch <n>", "for another batch size than the profiled one"),
    new Option("--max-batch", "for the largest batch that fits the budget"),
    new Option("--overhead <share>", "with --max-batch: how much longer than eager's a step may take (10%)"),
    exactnessOption(),
    new Option("--out <file>", "where the plan goes"),
    jsonOption(),
  ]).action((graph: string, options: PlanOptions) => {
    run(plan(io, solver, graph, options));
  });
  withOptions(command("optimize <target>", "profile FILE:MODEL and plan it for a budget"), [
    ...profileOptions(),
    new Option("--budget <size>", "peak of the device (6GiB), share of what activations take (60%), max for the fastest, or eager").makeOptionMandatory(),
    exactnessOption(),
    new Option("--verify", "then run a real training step with and without the plan, and compare"),
    new Option("--pairs <n>", "steps to time, each with and without the plan"),
    pythonOption(),
    new Option("--out <file>", "where the plan goes"),
    jsonOption(),
  ]).action((target: string, options: OptimizeOptions) => {
    run(optimize(io, solver, target, options));
  });
  withOptions(command("verify <target> <plan>", "run a real training step of FILE:MODEL with and without the plan, and compare"), [
    new Option("--graph <file>", "the training graph that the plan was made for"),
    new Option("--pairs <n>", "steps to time, each with and without the plan"),
    new Option("--timeline <file>", "the measured memory of the step over the predicted one, event by event: FILE.html or FILE.json"),
    new Option("--threads <n>", "threads that torch may use"),
    pythonOption(),
    jsonOption(),
  ]).action((target: string, file: string, options: VerifyOptions) => {
    run(verify(io, target, file, options));
  });
  withOptions(command("export <target> <plan>", "write a plan of FILE:MODEL as checkpoint policies in plain PyTorch, and run a step by them"), [
    new Option("--graph <file>", "the training graph that the plan was made for"),
    new Option("--threads <n>", "threads that torch may use"),
    pythonOption(),
    new Option("--out <file>", "where the Python file goes"),
    jsonOption(),
  ]).action((target: string, file: string, options: ExportOptions) => {
    run(exportPlan(io, target, file, options));
  });
  withOptions(command("show <plan>", "print a plan's schedule: what is kept, what is recomputed"), [
    new Option("--graph <file>", "the training graph that the plan was made for"),
    new Option("--why", "instead of the table, say of the largest tensors why they are kept or recomputed"),
    jsonOption(),
  ]).action((file: string, options: ShowOptions) => {
    run(show(io, file, options));
  });
  withOptions(command("devices", "list the cards that --device can estimate, or compare the card that is here with its row"), [
    new Option("--calibrate", "measure the card that is here; estimates of all cards use what is found"),
    pythonOption(),
    jsonOption(),
  ]).action((options: DevicesOptions) => {
    run(devices(io, options));
  });
  for (const each of [program, ...program.commands]) each.exitOverride().configureOutput({ writeOut: io.out, writeErr: io.err, outputError: (text, write) => { write(`${coded(text.trimEnd(), wrongCommand)}\n`); } });
  return program;
}

export async function runCli(argv: readonly string[], io: Io, solver: Solver): Promise<ExitCode> {
  const json = argv.includes("--json");
  try {
    let outcome: Promise<Outcome> | Outcome | undefined;
    // Started within parseAsync's own turn, so that what it throws at once is caught here too.
    await build(io, solver, (started) => {
      outcome = started;
    }).parseAsync([...argv], { from: "user" });
    if (outcome === undefined) return exitCodes.ok;
    const { exit, text, json: document } = await outcome;
    io.out(json ? `${JSON.stringify(document, null, 2)}\n` : text);
    return exit;
  } catch (error) {
    return failed(error, io, json);
  }
}

function failed(error: unknown, io: Io, json: boolean): ExitCode {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.ok;
    if (json) io.out(`${JSON.stringify({ error: { kind: "input", code: wrongCommand, message: error.message.replace(/^error: /, "") } }, null, 2)}\n`);
    return exitCodes.input;
  }
  const known =
    error instanceof UserError
      ? { kind: error.kind, code: error.code, message: error.message, facts: error.facts, exit: exitCodeOf(error.kind) }
      : error instanceof Cancelled
        ? { kind: "cancelled", code: null, message: "Stopped.", facts: {}, exit: exitCodes.cancelled }
        : { kind: "unexpected", code: unexpected, message: error instanceof Error ? (error.stack ?? error.message) : String(error), facts: {}, exit: exitCodes.crash };
  io.err(known.code === null ? `${known.message}\n` : `error: ${coded(known.message, known.code)}\n`);
  if (json) io.out(`${JSON.stringify({ error: { kind: known.kind, ...(known.code !== null && { code: known.code }), message: known.message, ...known.facts } }, null, 2)}\n`);
  return known.exit;
}
