/** Paints primitives, crisp on every screen. */
import { textures, type Texture } from "../textures";
import type { Palette, Primitive, Size } from "./primitives";

export class Canvas {
  readonly element = document.createElement("canvas");

  constructor() {
    this.element.setAttribute("aria-hidden", "true");
  }

  paint(primitives: readonly Primitive[], palette: Palette, { width, height }: Size, scale = window.devicePixelRatio): void {
    const { element } = this;
    const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
    if (element.width !== w || element.height !== h) {
      element.width = w;
      element.height = h;
      element.style.width = `${width}px`;
      element.style.height = `${height}px`;
    }
    const context = element.getContext("2d");
    if (context === null) return;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = palette.colors.background;
    context.fillRect(0, 0, width, height);
    const brush = new Brush(context, palette, scale);
    for (const primitive of primitives) brush.draw(primitive);
  }
}

class Brush {
  private readonly patterns = new Map<Texture, CanvasPattern | null>();

  constructor(
    private readonly context: CanvasRenderingContext2D,
    private readonly palette: Palette,
    private readonly scale: number,
  ) {}

  draw(primitive: Primitive): void {
    const { context, palette: { colors, font, fontSize } } = this;
    switch (primitive.shape) {
      case "rect": {
        const { x, y, width, height, fill, stroke, texture, opacity } = primitive;
        if (fill !== null) {
          context.globalAlpha = opacity ?? 1;
          context.fillStyle = colors[fill];
          context.fillRect(x, y, width, height);
          context.globalAlpha = 1;
        }
        const pattern = this.pattern(texture);
        if (pattern !== null) {
          context.fillStyle = pattern;
          context.fillRect(x, y, width, height);
        }
        if (stroke !== undefined) {
          context.strokeStyle = colors[stroke];
          context.lineWidth = 1;
          context.setLineDash([]);
          context.strokeRect(x, y, width, height);
        }
        return;
      }
      case "area": {
        const { points, fill, texture, opacity } = primitive;
        this.trace(points);
        context.globalAlpha = opacity ?? 1;
        context.fillStyle = colors[fill];
        context.fill();
        context.globalAlpha = 1;
        const pattern = this.pattern(texture);
        if (pattern === null) return;
        context.fillStyle = pattern;
        context.fill();
        return;
      }
      case "line": {
        const { points, stroke, width, dash } = primitive;
        this.trace(points);
        context.strokeStyle = colors[stroke];
        context.lineWidth = width;
        context.setLineDash(dash === undefined ? [] : [...dash]);
        context.stroke();
        return;
      }
      case "text": {
        const { x, y, text, ink, size, anchor, bold, halo } = primitive;
        context.font = `${bold === true ? "600 " : ""}${size ?? fontSize}px ${font}`;
        context.textAlign = anchor === "middle" ? "center" : (anchor ?? "start");
        if (halo === true) {
          context.strokeStyle = colors.background;
          context.lineWidth = 3;
          context.setLineDash([]);
          context.lineJoin = "round";
          context.strokeText(text, x, y);
        }
        context.fillStyle = colors[ink];
        context.fillText(text, x, y);
      }
    }
  }

  private trace(points: readonly number[]): void {
    const { context } = this;
    context.beginPath();
    for (let at = 0; at + 1 < points.length; at += 2) context.lineTo(points[at] ?? 0, points[at + 1] ?? 0);
  }

  private pattern(texture: Texture | null | undefined): CanvasPattern | null {
    if (texture === null || texture === undefined) return null;
    const known = this.patterns.get(texture);
    if (known !== undefined) return known;
    const { size, lines } = textures[texture];
    const tile = document.createElement("canvas");
    tile.width = tile.height = Math.round(size * this.scale);
    const context = tile.getContext("2d");
    if (context !== null) {
      context.scale(tile.width / size, tile.height / size);
      context.strokeStyle = this.palette.colors.background;
      context.lineWidth = 1.25;
      for (const [x1, y1, x2, y2] of lines) {
        context.beginPath();
        context.moveTo(x1, y1);
        context.lineTo(x2, y2);
        context.stroke();
      }
    }
    const made = this.context.createPattern(tile, "repeat");
    made?.setTransform(new DOMMatrix().scale(size / tile.width));
    this.patterns.set(texture, made);
    return made;
  }
}
