/** What Python's dotted names tell. */

export const lastOf = (name: string): string => name.split(".").at(-1) ?? name;

/** By convention. */
export const isClass = (name: string): boolean => /^[A-Z]/.test(lastOf(name));

/** `monet_entry`, or several: `monet_entry_small`. */
export const isEntryName = (name: string): boolean => /^monet_entry(_\w+)?$/.test(name);
