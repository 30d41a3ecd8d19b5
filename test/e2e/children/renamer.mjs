// A client in a thread of its own, which renames a file that does not exist, and prints the name of the error.
import { createDsmClient } from '@quire/dsm-client'

const peers = process.argv.filter((argument) => argument.startsWith('/ip4/'))
const client = await createDsmClient({ peers, thread: true })
await client.rename('/absent', '/elsewhere').catch((error) => console.log(error.name))
await client.close()
