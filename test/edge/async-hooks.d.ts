/** The part of the module that workerd supports and a test uses. */
declare module 'node:async_hooks' {
  export class AsyncLocalStorage<Store> {
    run<Result>(store: Store, work: () => Result): Result
    getStore(): Store | undefined
    disable(): void
  }
}
