// Takes the pictures of README and walkthrough anew.
process.env.MONET_PICTURES = "1";
process.argv.push("pictures");
await import("./e2e.mjs");
