import type { Context } from "../context";

export function installRuntime(context: Context): Promise<void> {
  context.log.debug("installRuntime");
  return Promise.resolve();
}
