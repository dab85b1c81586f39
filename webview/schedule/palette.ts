/** The theme's colours and font, as they are now. */
import { inks, type Ink, type Palette } from "./primitives";

/** Variables in order of preference. */
const variables: Readonly<Record<Ink, readonly string[]>> = {
  background: ["editor-background"],
  foreground: ["foreground"],
  muted: ["descriptionForeground", "foreground"],
  grid: ["editorWidget-border", "panel-border", "descriptionForeground"],
  border: ["contrastBorder", "panel-border", "editorWidget-border", "descriptionForeground"],
  selection: ["foreground"],
  focus: ["focusBorder"],
  fixed: ["charts-lines", "descriptionForeground"],
  kept: ["monet-kept", "charts-blue"],
  working: ["charts-purple"],
  gradients: ["charts-green"],
  workspace: ["charts-yellow"],
  recomputed: ["monet-recomputed", "charts-orange"],
  freed: ["charts-lines", "descriptionForeground"],
  forward: ["monet-kept", "charts-blue"],
  backward: ["charts-purple"],
  eager: ["descriptionForeground", "foreground"],
  budget: ["charts-red"],
};

export function readPalette(): Palette {
  const style = getComputedStyle(document.body);
  const read = (name: string): string => style.getPropertyValue(`--vscode-${name}`).trim();
  const color = (ink: Ink): string => variables[ink].map(read).find((value) => value !== "") ?? style.color;
  return {
    colors: Object.fromEntries(inks.map((ink) => [ink, color(ink)])) as Record<Ink, string>,
    font: style.fontFamily,
    fontSize: Math.max(9, Number.parseFloat(style.fontSize) - 2),
    contrast: document.body.classList.contains("vscode-high-contrast"),
  };
}
