/** The part of it that workerd has, and that a test uses. */
declare module 'node:async_hooks' {
  export class AsyncLocalStorage<Store> {
    run<Result>(store: Store, work: () => Result): Result
    getStore(): Store | undefined
    disable(): void
  }
}
