/** The small squares of the legends, and the patterns that SVG areas are filled with. */
import { svg } from "./dom";
import { textures, type Texture } from "./textures";

export const textureFill = (texture: Texture): string => `url(#texture-${texture})`;

/** Once per page: what `textureFill` refers to. */
export function texturePatterns(): SVGSVGElement {
  const patterns = Object.entries(textures).map(([name, { size, lines }]) =>
    svg("pattern", { id: `texture-${name}`, width: size, height: size, patternUnits: "userSpaceOnUse" },
      ...lines.map(([x1, y1, x2, y2]) => svg("line", { class: "texture-ink", x1, y1, x2, y2 }))));
  return svg("svg", { class: "patterns", width: 0, height: 0, "aria-hidden": "true" }, svg("defs", {}, ...patterns));
}

export function swatch(name: string, texture: Texture | null, isLine = false): SVGSVGElement {
  const box = { x: 0.5, y: 0.5, width: 13, height: 9 };
  return svg("svg", { class: "swatch", width: 14, height: 10, "aria-hidden": "true" },
    isLine ? svg("line", { class: `stroke ${name}`, x1: 0, x2: 14, y1: 5, y2: 5 }) : svg("rect", { class: `part ${name}`, ...box }),
    texture === null ? null : svg("rect", { class: "texture", ...box, fill: textureFill(texture) }));
}
