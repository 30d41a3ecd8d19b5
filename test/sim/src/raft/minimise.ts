import { minimise as minimiseOf, type Minimised } from '../minimise.js'
import { simulateRaft, type RaftSimulationInit } from './simulation.js'

export function minimise(init: RaftSimulationInit): Promise<Minimised> {
  return minimiseOf((selection) => simulateRaft({ ...init, ...selection }))
}
