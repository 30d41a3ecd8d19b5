/**
 * Adds `Promise.withResolvers` to Node 20. The muxer and the streams of libp2p 3 call it; without it dials fail, with
 * no other symptom. Every module that imports code of libp2p imports this one first, for its effect.
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
