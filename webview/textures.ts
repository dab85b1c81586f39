/** Patterns that tell areas apart without colour. One definition for both views, for canvas and for SVG. */
export const textures = {
  diagonal: { size: 6, lines: [[-1, 7, 7, -1], [-1, 1, 1, -1], [5, 7, 7, 5]] },
  dots: { size: 5, lines: [[2, 2.5, 3, 2.5]] },
  horizontal: { size: 4, lines: [[0, 2, 4, 2]] },
  vertical: { size: 4, lines: [[2, 0, 2, 4]] },
  cross: { size: 6, lines: [[0, 0, 6, 6], [0, 6, 6, 0]] },
} as const satisfies Readonly<Record<string, { readonly size: number; readonly lines: readonly (readonly [number, number, number, number])[] }>>;

export type Texture = keyof typeof textures;
