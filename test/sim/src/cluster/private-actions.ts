import { ActionBase } from './action-base.js'
import { SPOTS } from './page-layout.js'

/** Performs the actions of programs on a private mapping. */
export class PrivateActions extends ActionBase {
  async writePrivately(): Promise<void> {
    const { random } = this.program.init
    const own = await this.program.privately(this.handle)
    await own.write(this.page(), random.pick(SPOTS), this.program.options())
  }

  async readPrivately(): Promise<void> {
    const { random } = this.program.init
    const own = await this.program.privately(this.handle)
    const [page, place] = [this.page(), random.pick(SPOTS)]
    if (random.is(0.2)) own.tryRead(page, place)
    else await own.read(page, place, this.program.options())
  }

  async tryWritePrivately(): Promise<void> {
    const { random } = this.program.init
    const own = await this.program.privately(this.handle)
    const done = own.tryWrite(this.page(), random.pick(SPOTS))
    this.count(done ? 'private writes at once' : 'private writes not at once')
  }

  async pinPrivately(): Promise<void> {
    const { random, settings } = this.program.init
    const own = await this.program.privately(this.handle)
    const [page, place, options] = [this.page(), random.pick(SPOTS), this.program.options()]
    const hold = (): Promise<void> => this.hold(random.exponential(settings.pinMs))
    if (random.is(0.6)) await own.writePinned(page, place, options, hold)
    else await own.readPinned(page, place, options, hold)
  }

  async unmapPrivately(): Promise<void> {
    const own = this.handle.private
    this.handle.private = undefined
    await own?.mapping.munmap()
  }
}
