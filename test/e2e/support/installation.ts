import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
export const vsix = join(root, "monet.vsix");

function told(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run these tests with 'npm run e2e'.`);
  return value;
}

/** What scripts/editor.mjs has installed, and the project's own Python, with torch. */
export const installation = {
  get node(): string { return told("MONET_E2E_NODE"); },
  get server(): string { return told("MONET_E2E_SERVER"); },
  get browser(): string { return told("MONET_E2E_BROWSER"); },
  get python(): string { return told("MONET_PYTHON"); },
};
