/** The whole contract against the real service. */
import { declareContract } from '../contract/contract.ts'
import { startProcess } from './service-process.ts'

declareContract(() => startProcess(), { hasSandbox: true })
