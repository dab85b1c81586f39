/** A test process whose parent was killed would wait for its editor for ever, and the editor with it. */
process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));
