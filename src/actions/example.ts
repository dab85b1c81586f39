import type { Context } from "../context";

export function openExample(context: Context): Promise<void> {
  context.log.debug("openExample");
  return Promise.resolve();
}
