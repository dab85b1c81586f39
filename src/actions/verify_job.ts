/** A real step with and without the chosen plan: run, read, remembered. */
import type { Verified } from "../protocol";
import type { Model } from "../workspace";
import type { MonetTaskDefinition } from "./definition";
import type { Job } from "./jobs";
import { helpWithPlan, type Equipment, type Say } from "./profile";
import { readReport } from "./report";
import type { Reports } from "./reports";

export async function verifyModel(equipment: Equipment, reports: Reports, model: Model, definition: MonetTaskDefinition, job: Job, say: Say): Promise<Verified> {
  const { plan } = model;
  const { output } = await helpWithPlan(equipment, model, definition, job, say);
  const { verified, text } = readReport(output);
  say(text);
  reports.set(model, "verify", text);
  if (plan !== null) equipment.models.update(model, { measured: { plan, result: verified } });
  return verified;
}
