import type { ModelArgument } from "../commands";
import type { Context } from "../context";

export function verifyPlan(context: Context, argument: ModelArgument | null): Promise<void> {
  context.log.debug(JSON.stringify(argument));
  return Promise.resolve();
}
