/**
 * `Promise.withResolvers` for Node 20. libp2p 3 calls it in its muxer and its streams; without it the only symptom is a
 * dial that fails. Every module here that imports libp2p imports this one first; the import has an effect and no exports.
 */
interface Resolvers<T> {
  promise: Promise<T>
  resolve: (value: T | PromiseLike<T>) => void
  reject: (reason?: unknown) => void
}

if (typeof (Promise as { withResolvers?: unknown }).withResolvers !== 'function') {
  Object.defineProperty(Promise, 'withResolvers', {
    configurable: true,
    writable: true,
    value: function withResolvers<T>(this: PromiseConstructor): Resolvers<T> {
      const resolvers = {} as Resolvers<T>
      resolvers.promise = new this<T>((resolve, reject) => {
        resolvers.resolve = resolve
        resolvers.reject = reject
      })
      return resolvers
    }
  })
}

export {}
