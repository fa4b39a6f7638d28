/** A KV whose calls a test counts, delays, repeats, or lets fail. The KV below it is a real one. */

/** Returns the same KV with some methods replaced. */
export function kvWith(kv: Deno.Kv, methods: Partial<Deno.Kv>): Deno.Kv {
  return new Proxy(kv, {
    get(target, name) {
      if (Object.hasOwn(methods, name)) return Reflect.get(methods, name);
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** How often a KV was used, and how many mutations its commits held. */
export interface KvUse {
  gets: number;
  lists: number;
  commits: number;
  mutations: number;
}

/**
 * Returns a KV that counts its calls. It awaits `before` before each commit, `get` and `getMany`:
 * `before` may delay the call, or throw so that the call fails.
 */
export function countingKv(
  kv: Deno.Kv,
  before: (call: "commit" | "read") => Promise<void> | void = () => {},
): { kv: Deno.Kv; use: KvUse } {
  const use: KvUse = { gets: 0, lists: 0, commits: 0, mutations: 0 };

  function counted<Args extends unknown[], T>(read: (...args: Args) => Promise<T>) {
    return async (...args: Args) => {
      use.gets++;
      await before("read");
      return await read(...args);
    };
  }

  function countingAtomic(atomic: Deno.AtomicOperation): Deno.AtomicOperation {
    let mutations = 0;
    const counting: Deno.AtomicOperation = new Proxy(atomic, {
      get(target, name) {
        if (name === "commit") {
          return async () => {
            use.commits++;
            use.mutations += mutations;
            await before("commit");
            return await target.commit();
          };
        }
        const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
        return (...args: unknown[]) => {
          mutations += name === "mutate" ? args.length : name === "check" ? 0 : 1;
          method.apply(target, args);
          return counting;
        };
      },
    });
    return counting;
  }

  const list: Deno.Kv["list"] = (...args) => {
    use.lists++;
    return kv.list(...args);
  };
  const counting = kvWith(kv, {
    get: counted(kv.get.bind(kv)) as Deno.Kv["get"],
    getMany: counted(kv.getMany.bind(kv)) as Deno.Kv["getMany"],
    list,
    atomic: () => countingAtomic(kv.atomic()),
  });
  return { kv: counting, use };
}

/** Commits an atomic operation. It may be called more than once. */
export type Commit = () => Promise<Deno.KvCommitResult | Deno.KvCommitError>;

/**
 * Returns a KV that calls `through` for each commit: `through` may repeat the commit, delay it, or
 * lose its answer.
 */
export function interceptCommits(
  kv: Deno.Kv,
  through: (commit: Commit) => ReturnType<Commit>,
): Deno.Kv {
  return kvWith(kv, {
    atomic() {
      const atomic = kv.atomic();
      const commit = atomic.commit.bind(atomic);
      atomic.commit = () => through(commit) as Promise<Deno.KvCommitResult>;
      return atomic;
    },
  });
}

/** Commits twice, as the KV Connect client does when the answer to the first commit is lost. */
export async function commitTwice(commit: Commit): ReturnType<Commit> {
  await commit();
  return await commit();
}
