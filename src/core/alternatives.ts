/** The other ways to run the operators of a place, and what each would change beside the plan as it is. */
import { chosen } from "./explain";
import type { Graph, Implementation, Operator } from "./graph";
import type { Explained } from "./numbers";
import type { Plan } from "./plan";

export interface Alternative {
  readonly name: string;
  readonly exactness: Implementation["exactness"];
  /** How many operators of the place run by it, and how many could. */
  readonly used: number;
  readonly possible: number;
  /** If those that don't run by it did: bytes that only they save for backward, and nanoseconds of forward and backward. */
  readonly bytes: number;
  readonly time: number;
}

/** Empty where no operator has a choice; in the order of the graph, eager's first. */
export function alternatives({ graph, plan }: Explained, ids: readonly number[]): readonly Alternative[] {
  const operators = ids.flatMap((id) => graph.operators[id] ?? []).filter(({ implementations }) => implementations.length > 1);
  if (operators.length === 0) return [];
  const users = known.get(plan) ?? usersOf(graph, (operator) => chosen(operator, plan));
  known.set(plan, users);
  const found = new Map<string, Alternative>();
  for (const operator of operators) {
    const now = chosen(operator, plan);
    for (const each of operator.implementations) {
      const sum = found.get(each.name) ?? { name: each.name, exactness: each.exactness, used: 0, possible: 0, bytes: 0, time: 0 };
      found.set(each.name, {
        ...sum,
        used: sum.used + (each === now ? 1 : 0),
        possible: sum.possible + 1,
        bytes: sum.bytes + savedAlone(graph, operator, each, users) - savedAlone(graph, operator, now, users),
        time: sum.time + timeOf(each) - timeOf(now),
      });
    }
  }
  return [...found.values()];
}

type Users = ReadonlyMap<number, ReadonlySet<number>>;
/** One place after another is asked for, and this looks at the whole graph. */
const known = new WeakMap<Plan, Users>();

function usersOf({ operators }: Graph, implementationOf: (operator: Operator) => Implementation): Users {
  const users = new Map<number, Set<number>>();
  for (const operator of operators) {
    const { backward, saves } = implementationOf(operator);
    for (const storage of backward === null ? [] : saves) users.set(storage, (users.get(storage) ?? new Set()).add(operator.id));
  }
  return users;
}

function savedAlone({ values }: Graph, { id }: Operator, { backward, saves, internal_bytes: internal }: Implementation, users: Users): number {
  if (backward === null) return 0;
  const alone = saves.filter((storage) => [...(users.get(storage) ?? [])].every((user) => user === id));
  return alone.reduce((sum, storage) => sum + (values[storage]?.bytes ?? 0), internal);
}

const timeOf = ({ forward, backward }: Implementation): number => forward.time + (backward?.time ?? 0);
