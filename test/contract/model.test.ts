import { declareContract } from './contract.ts'
import { startModel } from './model.ts'

declareContract(startModel, { hasSandbox: false })
