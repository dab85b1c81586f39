/** The lines that run a model by a plan, and the loss in them. Pure. */
import { applyLines } from "../core/part";
import { isClass } from "../core/source/names";

/** To be pasted where the model is built; the path is relative to the script. */
export function planLines(path: string, loss: string | null, part: string | null): string {
  if (part !== null) return `import monet_torch\n${applyLines(part, path)}\n`;
  const plan = JSON.stringify(path);
  if (loss === null) return `import monet_torch\nmonet_torch.apply(model, ${plan})\n`;
  const given = isClass(loss) ? `${loss}()` : loss;
  return `import monet_torch\nplanned_loss = monet_torch.apply(model, ${plan}, loss=${given})  # call it in place of ${loss}\n`;
}
