/** Computes once per argument, which must not change. */
export function perObject<T extends object, R>(compute: (argument: T) => R): (argument: T) => R {
  const known = new WeakMap<T, { readonly result: R }>();
  return (argument) => {
    const found = known.get(argument) ?? { result: compute(argument) };
    known.set(argument, found);
    return found.result;
  };
}
