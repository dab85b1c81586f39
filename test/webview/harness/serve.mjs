// The real bundles on a page as the extension makes it, with a stand-in for the host and the variables of four themes.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const here = import.meta.dirname;
const classes = { dark: "vscode-dark", light: "vscode-light", "hc-dark": "vscode-high-contrast", "hc-light": "vscode-high-contrast vscode-high-contrast-light" };
const types = { js: "text/javascript", css: "text/css", json: "application/json" };

function page(view, theme) {
  const policy = ["default-src 'none'", "script-src 'nonce-harness'", "style-src 'self' 'nonce-harness'", "font-src 'self'", "img-src 'self' data: blob:", "connect-src 'self'"].join("; ");
  return `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
<meta property="csp-nonce" content="harness"><link rel="stylesheet" href="/themes/${theme}.css"><link rel="stylesheet" href="/${view}.css"><title>MONeT</title></head>
<body class="${classes[theme]} ${view}"><main id="root"></main>
<script nonce="harness" src="/host.js"></script><script nonce="harness" src="/${view}.js"></script></body></html>`;
}

/** Answers `/view?theme=` with a page, and files of the bundles' folder, of the states' folder and of this one. */
export async function serve(bundles, states) {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://harness");
    const name = pathname.slice(1);
    const respond = (type, body) => response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
    if (name === "budget" || name === "schedule") return respond("text/html", page(name, searchParams.get("theme") ?? "dark"));
    const folder = name.startsWith("states/") ? join(states, "..") : name.startsWith("themes/") || name === "host.js" ? here : bundles;
    readFile(join(folder, name)).then((body) => respond(types[name.split(".").at(-1)] ?? "text/plain", body), () => response.writeHead(404).end());
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { server, address: `http://127.0.0.1:${server.address().port}` };
}
