/** What a picture is made of. One list is painted on a canvas and written as SVG, so that panel and export can't differ. */
import { textures, type Texture } from "../textures";

export const inks = [
  "background", "foreground", "muted", "grid", "border", "selection", "focus",
  "fixed", "kept", "working", "gradients", "workspace",
  "recomputed", "freed", "forward", "backward", "eager", "budget",
] as const;

export type Ink = (typeof inks)[number];

export interface Palette {
  readonly colors: Readonly<Record<Ink, string>>;
  readonly font: string;
  readonly fontSize: number;
  /** High contrast: borders and textures carry the meaning. */
  readonly contrast: boolean;
}

export type Primitive =
  | { readonly shape: "rect"; readonly x: number; readonly y: number; readonly width: number; readonly height: number; readonly fill: Ink | null; readonly stroke?: Ink; readonly texture?: Texture | null; readonly opacity?: number }
  /** Corners as x, y, x, y … */
  | { readonly shape: "area"; readonly points: readonly number[]; readonly fill: Ink; readonly texture?: Texture | null; readonly opacity?: number }
  | { readonly shape: "line"; readonly points: readonly number[]; readonly stroke: Ink; readonly width: number; readonly dash?: readonly number[] }
  /** `y` is the baseline; `halo` keeps it readable on whatever lies below. */
  | { readonly shape: "text"; readonly x: number; readonly y: number; readonly text: string; readonly ink: Ink; readonly size?: number; readonly anchor?: "start" | "middle" | "end"; readonly bold?: boolean; readonly halo?: boolean };

export interface Size {
  readonly width: number;
  readonly height: number;
}

export function moved(primitive: Primitive, dy: number): Primitive {
  switch (primitive.shape) {
    case "rect":
    case "text":
      return { ...primitive, y: primitive.y + dy };
    case "area":
    case "line":
      return { ...primitive, points: primitive.points.map((value, at) => (at % 2 === 0 ? value : value + dy)) };
  }
}

/** A document of its own: colours and font are those of the theme at this moment. */
export function toSvg(primitives: readonly Primitive[], { colors, font, fontSize }: Palette, { width, height }: Size): string {
  const used = new Set(primitives.flatMap((each) => ("texture" in each && each.texture ? [each.texture] : [])));
  const patterns = [...used].map((name) => {
    const { size, lines } = textures[name];
    const strokes = lines.map(([x1, y1, x2, y2]) => `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`).join("");
    return `<pattern id="${name}" width="${size}" height="${size}" patternUnits="userSpaceOnUse"><g stroke="${colors.background}" stroke-width="1.25">${strokes}</g></pattern>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${number(width)}" height="${number(height)}" viewBox="0 0 ${number(width)} ${number(height)}" font-family="${escaped(font)}" font-size="${fontSize}">`,
    ...(patterns.length > 0 ? [`<defs>${patterns.join("")}</defs>`] : []),
    `<rect width="100%" height="100%" fill="${colors.background}"/>`,
    ...primitives.flatMap((primitive) => elements(primitive, colors)),
    "</svg>",
    "",
  ].join("\n");
}

function elements(primitive: Primitive, colors: Palette["colors"]): string[] {
  switch (primitive.shape) {
    case "rect": {
      const { x, y, width, height, fill, stroke, texture, opacity } = primitive;
      const box = `x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}"`;
      const paint = `fill="${fill === null ? "none" : colors[fill]}"${stroke === undefined ? "" : ` stroke="${colors[stroke]}"`}${transparency(opacity)}`;
      return [`<rect ${box} ${paint}/>`, ...(typeof texture !== "string" ? [] : [`<rect ${box} fill="url(#${texture})"/>`])];
    }
    case "area": {
      const { points, fill, texture, opacity } = primitive;
      return [`<path d="${path(points)}Z" fill="${colors[fill]}"${transparency(opacity)}/>`, ...(typeof texture !== "string" ? [] : [`<path d="${path(points)}Z" fill="url(#${texture})"/>`])];
    }
    case "line": {
      const { points, stroke, width, dash } = primitive;
      return [`<path d="${path(points)}" fill="none" stroke="${colors[stroke]}" stroke-width="${number(width)}"${dash === undefined ? "" : ` stroke-dasharray="${dash.join(" ")}"`}/>`];
    }
    case "text": {
      const { x, y, text, ink, size, anchor, bold, halo } = primitive;
      const looks = [
        ...(size === undefined ? [] : [`font-size="${number(size)}"`]),
        ...(anchor === undefined || anchor === "start" ? [] : [`text-anchor="${anchor}"`]),
        ...(bold === true ? ['font-weight="600"'] : []),
        ...(halo === true ? [`stroke="${colors.background}" stroke-width="3" paint-order="stroke"`] : []),
      ];
      return [`<text x="${number(x)}" y="${number(y)}" fill="${colors[ink]}"${looks.map((look) => ` ${look}`).join("")}>${escaped(text)}</text>`];
    }
  }
}

function path(points: readonly number[]): string {
  let text = "";
  for (let at = 0; at + 1 < points.length; at += 2) text += `${at === 0 ? "M" : "L"}${number(points[at] ?? 0)} ${number(points[at + 1] ?? 0)}`;
  return text;
}

const transparency = (opacity: number | undefined): string => (opacity === undefined ? "" : ` fill-opacity="${opacity}"`);
const number = (value: number): string => String(Math.round(value * 100) / 100);
const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
