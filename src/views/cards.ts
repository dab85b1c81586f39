import table from "../../python/monet_torch/cards.json";

/** Devices that can be estimated: one table, which the Python helper reads too. */
export const cards: readonly { readonly name: string; readonly bytes: number }[] = table.map(({ name, gib }) => ({ name, bytes: gib * 2 ** 30 }));
