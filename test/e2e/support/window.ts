/** What a person does and sees in one window. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Frame, Locator, Page } from "playwright-core";
import { root } from "./installation";
import type { Server } from "./server";

export const themes = {
  dark: "Dark Modern",
  light: "Light Modern",
  "hc-dark": "Dark High Contrast",
  "hc-light": "Light High Contrast",
} as const;

export type Theme = keyof typeof themes;

const themeClass: Readonly<Record<Theme, string>> = { dark: "vs-dark", light: "vs", "hc-dark": "hc-black", "hc-light": "hc-light" };

/** The editor shows blanks as no-break spaces. */
const shown = (text: string | RegExp): RegExp =>
  typeof text === "string" ? shown(new RegExp(text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))) : new RegExp(text.source.replaceAll(" ", "\\s"), text.flags);

/** The text in single quotes of an attribute selector. */
const quoted = (text: string): string => `'${text.replaceAll("'", "\\'")}'`;

export class Window {
  constructor(
    readonly page: Page,
    private readonly server: Server,
  ) {}

  /** Opens a folder, or a workspace of several. The payload is VS Code's own, for tests in the extension host. */
  async load(place: string, payload: readonly (readonly [string, string])[] = []): Promise<void> {
    const kind = place.endsWith(".code-workspace") ? "workspace" : "folder";
    const query = new URLSearchParams({ [kind]: place, ...(payload.length > 0 && { payload: JSON.stringify(payload) }) });
    await this.page.goto(`${this.server.url}/?${query.toString()}`);
    await this.page.locator(".monaco-workbench .statusbar").waitFor();
  }

  /** As F5 in a browser. */
  async reload(): Promise<void> {
    await this.page.reload();
    await this.page.locator(".monaco-workbench .statusbar").waitFor();
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }

  // ---- Commands and questions --------------------------------------------------------------------------------------

  /** The palette may have closed with what had the focus, or been filled before the extension's commands were enabled: then it is opened again. */
  async command(title: string): Promise<void> {
    const row = this.page.locator(`.quick-input-list .monaco-list-row[aria-label^=${quoted(title)}]`).first();
    for (let attempt = 0; ; attempt++) {
      await this.page.keyboard.press("F1");
      const filled = await this.quickInput.fill(`>${title}`, { timeout: 4000 }).then(() => true, () => false);
      const found = filled && await row.waitFor({ timeout: 4000 }).then(() => true, () => false);
      if (found || attempt === 3) break;
      await this.page.keyboard.press("Escape");
    }
    await row.click();
    await this.page.mouse.move(0, 0);
  }

  /** The field of the question that is open. */
  get quickInput(): Locator {
    return this.page.locator(".quick-input-widget:visible input.input");
  }

  get quickTitle(): Locator {
    return this.page.locator(".quick-input-widget:visible .quick-input-title");
  }

  quickRow(text: string | RegExp): Locator {
    return this.page.locator(".quick-input-widget:visible .quick-input-list .monaco-list-row").filter({ hasText: text });
  }

  toast(text: string | RegExp): Locator {
    return this.page.locator(".notification-toast").filter({ hasText: text });
  }

  // ---- Files and the editor's text ---------------------------------------------------------------------------------

  async openFile(name: string): Promise<void> {
    await this.page.locator(`.explorer-folders-view .monaco-list-row[aria-label^=${quoted(name)}]`).dblclick();
    await this.page.locator(`.tab.active[data-resource-name=${quoted(name)}]`).waitFor();
    await this.editor.locator(".view-line").first().waitFor();
  }

  get editor(): Locator {
    return this.page.locator(".editor-group-container.active .monaco-editor[data-uri]").first();
  }

  /** A line of the editor that shows this text; hints are part of it. */
  line(text: string | RegExp): Locator {
    return this.editor.locator(".view-line").filter({ hasText: shown(text) }).first();
  }

  /** The line that the cursor is on, as it is shown: in the active editor, or in the one beside a webview. */
  async cursorLine(): Promise<string> {
    const active = this.page.locator(".editor-group-container.active .monaco-editor[data-uri]");
    const editor = (await active.count()) > 0 ? active.first() : this.page.locator(".editor-group-container .monaco-editor[data-uri]").first();
    const top = await editor.locator(".current-line").first().boundingBox();
    for (const line of await editor.locator(".view-line").all()) {
      const box = await line.boundingBox();
      if (top !== null && box !== null && Math.abs(box.y - top.y) < 2) return (await line.textContent()) ?? "";
    }
    return "";
  }

  async goToLine(line: number): Promise<void> {
    await this.page.keyboard.press("Control+g");
    await this.quickInput.fill(`:${line}`);
    await this.page.keyboard.press("Enter");
  }

  /** VS Code leaves inert lenses while the editor isn't focused. */
  async codeLens(text: string | RegExp): Promise<Locator> {
    await this.focusEditor();
    const lens = this.editor.locator(".codelens-decoration a:visible").filter({ hasText: text }).first();
    await lens.waitFor();
    return lens;
  }

  async focusEditor(): Promise<void> {
    await this.page.keyboard.press("Control+1");
    await this.page.locator(".editor-group-container.active .monaco-editor.focused").waitFor();
  }

  async hover(word: string | RegExp, line: string | RegExp): Promise<Locator> {
    await this.line(line).locator("span span").filter({ hasText: word }).first().hover();
    const hover = this.page.locator(".monaco-hover:visible").filter({ hasNot: this.page.locator(".workbench-hover") }).first();
    await hover.waitFor();
    return hover;
  }

  // ---- Views ---------------------------------------------------------------------------------------------------------

  async activity(name: string): Promise<void> {
    await this.page.locator(`.activitybar .action-item a[aria-label^=${quoted(name)}]`).click();
  }

  /** The webview that holds such an element, once its script has run. */
  async webview(selector: string, timeout = 30_000): Promise<Frame> {
    const until = Date.now() + timeout;
    while (Date.now() < until) {
      for (const frame of this.page.frames()) {
        const found = await frame.locator(`body[data-ready="true"]:has(${selector})`).count().catch(() => 0);
        if (found > 0) return frame;
      }
      await this.page.waitForTimeout(100);
    }
    throw new Error(`No webview shows ${selector}.`);
  }

  async theme(theme: Theme): Promise<void> {
    await this.command("Preferences: Color Theme");
    // The palette's own field is there a moment longer.
    await this.page.locator(".quick-input-widget:visible input[placeholder*='Color Theme']").waitFor();
    await this.quickInput.fill(themes[theme]);
    await this.page.locator(`.quick-input-list .monaco-list-row[aria-label^=${quoted(themes[theme])}]`).first().click();
    await this.page.locator(`.monaco-workbench.${themeClass[theme]}`).waitFor();
    // The webviews follow within a frame or two.
    await this.page.waitForTimeout(500);
  }

  /** A picture to be looked at, in test/e2e/screenshots. */
  async screenshot(name: string, folder = "test/e2e/screenshots"): Promise<void> {
    const path = join(root, folder, `${name}.png`);
    mkdirSync(join(root, folder), { recursive: true });
    await this.page.screenshot({ path });
  }
}
