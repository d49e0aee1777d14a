import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { parse } from '../../src/config/parse.ts'
import { startService } from '../../src/service.ts'
import { sandboxObstacle } from '../helpers/sandbox-obstacle.ts'
import { silent } from '../http/fake-client.ts'
import { declareContract, type StartedService } from './contract.ts'

/** The whole service, as `opensandbox serve` starts it, on ports and a state directory of its own. */
async function startReal(): Promise<StartedService> {
  const stateDir = await mkdtemp(join(tmpdir(), 'opensandbox-contract-'))
  const flags = { port: '0', 'grpc-port': '0', 'state-dir': stateDir, 'pool-size': '2' }
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value])
  const service = await startService(parse('serve', args, {}).settings, silent)
  const { httpAddress, grpcAddress } = service
  return {
    url: `http://${httpAddress?.host}:${httpAddress?.port}`,
    grpcAddress: `${grpcAddress?.host}:${grpcAddress?.port}`,
    stop: async () => {
      await service.stop()
      await rm(stateDir, { recursive: true })
    },
  }
}

const why = sandboxObstacle()
if (why === undefined) declareContract(startReal, { hasSandbox: true })
else test.skip(`the whole service cannot be started here: ${why.split('\n')[0]}`, () => {})
