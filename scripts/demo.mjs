// The main job on a real model: parse, profile, plan for half of the memory, apply, verify.
import { join } from "node:path";
import { environment, main, must, root, run, say, setup } from "./lib.mjs";

await main(async () => {
  await setup();
  say("Building the command line");
  await must("The build", process.execPath, [join(root, "scripts", "build.mjs")]);
  const args = ["optimize", "examples/resnet50.py:resnet50", "--input", "float32[8,3,224,224]", "--budget", "50%", "--verify"];
  say(`monet ${args.map((a) => (/[[%]/.test(a) ? `"${a}"` : a)).join(" ")}`);
  return run(process.execPath, [join(root, "dist", "cli.mjs"), ...args], { env: environment() });
});
