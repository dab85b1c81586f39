import type { Context } from "../context";

export function openConfig(context: Context): Promise<void> {
  context.log.debug("openConfig");
  return Promise.resolve();
}
