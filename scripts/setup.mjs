// Installs what the project needs: npm packages and a Python environment with torch.
import { main, setup } from "./lib.mjs";

await main(setup);
