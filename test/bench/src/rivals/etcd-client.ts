/** A client of etcd over gRPC, from npm. */
import { Etcd3 } from 'etcd3'

export interface EtcdStore {
  put(key: string, value: Buffer): Promise<unknown>
  /** A linearizable read. */
  get(key: string): Promise<Buffer | null>
  /** Sets the key to `after` if it is `before`. */
  compareAndSet(key: string, before: string, after: string): Promise<boolean>
  /** Calls `onChange` with each new value. Resolves when the watch has begun. */
  watch(key: string, onChange: (value: string) => void): Promise<void>
}

export function connectEtcd(url: string): EtcdStore {
  const client = new Etcd3({ hosts: url })
  return {
    put: async (key, value) => client.put(key).value(value),
    get: (key) => client.get(key).buffer(),
    compareAndSet: async (key, before, after) => {
      const { succeeded } = await client.if(key, 'Value', '==', before).then(client.put(key).value(after)).commit()
      return succeeded
    },
    watch: async (key, onChange) => {
      const watcher = await client.watch().key(key).create()
      watcher.on('put', ({ value }) => onChange(value.toString()))
    }
  }
}
