// Dials an echo through the package while the runtime has no Promise.withResolvers.
//   with     removes it before it imports the package, as on Node 20
//   without  removes it again after the import, as if the package had no polyfill
// Prints `echoed` or the code of the error.
delete Promise.withResolvers
if ('withResolvers' in Promise) throw new Error('could not be removed')
const { createLibp2pNetwork, generatePrivateKey } = await import('@quire/net')
if (process.argv[2] === 'without') delete Promise.withResolvers

const [serverKey, clientKey] = await Promise.all([generatePrivateKey(), generatePrivateKey()])
const server = await createLibp2pNetwork({ privateKey: serverKey, listen: ['/ip4/127.0.0.1/tcp/0'] })
const client = await createLibp2pNetwork({ privateKey: clientKey, listen: [] })
server.handle('/test/echo/1', 64, (stream) => {
  stream.onFrame = () => stream.send(Uint8Array.of(1, 0, 0, 0, 7))
})
try {
  const stream = await client.dial(server.peerId, server.multiaddrs, { protocol: '/test/echo/1', maxFrameBytes: 64 })
  stream.send(Uint8Array.of(1, 0, 0, 0, 7))
  await new Promise((resolve, reject) => {
    stream.onFrame = resolve
    stream.onClose = reject
  })
  console.log('echoed')
} catch (error) {
  console.log(error.code)
}
process.exit(0)
