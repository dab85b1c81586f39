// Our plans beside eager PyTorch, checkpointing by hand and torch.compile, on the four examples.
import { join } from "node:path";
import { environment, main, must, root, run, say, setup, venvPython } from "./lib.mjs";

await main(async () => {
  await setup();
  say("Building the command line");
  await must("The build", process.execPath, [join(root, "scripts", "build.mjs")]);
  return run(venvPython, [join(root, "bench", "run.py"), ...process.argv.slice(2)], { env: environment() });
});
