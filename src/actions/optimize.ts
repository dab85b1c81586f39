import type { ModelArgument } from "../commands";
import type { Context } from "../context";
import type { Model } from "../workspace";

export function optimize(context: Context, argument: ModelArgument | null): Promise<void> {
  context.log.debug(JSON.stringify(argument));
  return Promise.resolve();
}

export function profileAgain(context: Context, argument: ModelArgument | null): Promise<void> {
  context.log.debug(JSON.stringify(argument));
  return Promise.resolve();
}

export function clearResults(context: Context, argument: ModelArgument | null): Promise<void> {
  context.log.debug(JSON.stringify(argument));
  return Promise.resolve();
}

export function setBatch(context: Context, model: Model, batch: number): Promise<void> {
  context.log.debug(`${model.id} ${batch}`);
  return Promise.resolve();
}

export function refine(context: Context, model: Model, bytes: number): Promise<void> {
  context.log.debug(`${model.id} ${bytes}`);
  return Promise.resolve();
}
