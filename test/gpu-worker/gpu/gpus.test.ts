/** The GPUs of a host: from nvidia-smi, and from a list. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { gpusText, readGpuList, readNvidiaSmi } from '../../../gpu-worker/gpu/gpus.ts'

const twoH100 = `0, GPU-11111111-aaaa, NVIDIA H100 80GB HBM3, 81559, 9.0
1, GPU-22222222-bbbb, NVIDIA H100 80GB HBM3, 81559, 9.0
`
const program = fileURLToPath(new URL('../../../gpu-worker/main.ts', import.meta.url))

describe('GPUs', () => {
  it('[PLN1] nvidia-smi reports the visible GPUs, and none of unknown memory', () => {
    const names = (
      visible: string | undefined,
      output = twoH100 + twoH100.replace(/^0/, '2').replace('1111', '3333'),
    ) => readNvidiaSmi(output, visible)?.length
    const [first] = readNvidiaSmi(twoH100, undefined) ?? []
    expect(first).toEqual({ name: 'NVIDIA H100 80GB HBM3', memoryBytes: 81_559 * 2 ** 20, capability: 9 })
    expect(readNvidiaSmi(twoH100, undefined)).toHaveLength(2)
    expect(readNvidiaSmi(twoH100, '1')).toHaveLength(1)
    expect(readNvidiaSmi(twoH100, ' GPU-2222 , 0')).toHaveLength(2)
    // CUDA hides everything after an invalid index.
    expect(readNvidiaSmi(twoH100, '0,7,1')).toHaveLength(1)
    for (const none of ['', '-1', 'NoDevFiles']) expect(readNvidiaSmi(twoH100, none)).toEqual([])
    expect(readNvidiaSmi(twoH100, 'MIG-GPU-1/0')).toBeNull()
    expect(names('2')).toBe(1)
    expect(readNvidiaSmi('', undefined)).toEqual([])
    // A GB10 shares the memory of its CPU and reports none.
    for (const memory of ['[N/A]', '', '0', '[Insufficient Permissions]'])
      expect(readNvidiaSmi(`0, GPU-1, NVIDIA GB10, ${memory}, 12.1\n`, undefined)).toBeNull()
    expect(readNvidiaSmi('NVIDIA-SMI has failed because it could not communicate', undefined)).toBeNull()
    expect(readNvidiaSmi('0, GPU-1, Tesla, 16384, [N/A]', undefined)).toMatchObject([{ capability: null }])
  })

  it('[PLN2] a list has counts, names and gigabytes, and an invalid one is refused with the wrong part', () => {
    const rows: [text: string, gpus: string, capability: number | null | undefined][] = [
      ['4xH100-80', '4 × H100 (80 GB)', 9],
      ['RTX4090-24', '1 × RTX4090 (24 GB)', 8.9],
      ['1xRTX 4090-24GB', '1 × RTX 4090 (24 GB)', 8.9],
      ['2 x RTX PRO 6000-96, L4-24', '2 × RTX PRO 6000 (96 GB), 1 × L4 (24 GB)', 12],
      ['A100-SXM4-80', '1 × A100-SXM4 (80 GB)', 8],
      ['8xB200-180', '8 × B200 (180 GB)', 10],
      ['GB10-128', '1 × GB10 (128 GB)', 12],
      ['2xMI300X-192', '2 × MI300X (192 GB)', null],
      ['1xFuture X1-1.5', '1 × Future X1 (2 GB)', null],
      ['NONE', 'no GPU', undefined],
    ]
    for (const [text, gpus, capability] of rows) {
      const list = readGpuList(text)
      if (!list.ok) throw new Error(`${text}: ${list.message}`)
      expect(gpusText(list.gpus)).toBe(gpus)
      expect(list.gpus[0]?.capability, text).toBe(capability)
    }
    const wrong: [text: string, part: RegExp][] = [
      ['', /^"" is not/],
      ['H100', /^"H100" is not COUNTxNAME-GIGABYTES\. Write for example 4xH100-80/],
      ['4xH100-80,,', /^"" is not/],
      ['0xH100-80', /^0 is not a number of GPUs from 1 to 64/],
      ['65xH100-80', /^65 is not/],
      ['64xH100-80,H100-80', /^1 is not/],
      ['H100-0', /^0 GB is not/],
      ['H100-9999', /^9999 GB is not/],
      ['H100--80', /is not COUNT/],
      ['4xH100-80; rm', /is not COUNT/],
    ]
    for (const [text, part] of wrong) {
      const list = readGpuList(text)
      expect(list.ok ? 'accepted' : list.message, text).toMatch(part)
    }
  })

  it('[PLN3] the printed command follows the nvidia-smi of the host, and does not wait for one that hangs', () => {
    const printed = (script: string, more: Record<string, string> = {}) => {
      const folder = mkdtempSync(join(tmpdir(), 'tramontane-smi-'))
      writeFileSync(join(folder, 'nvidia-smi'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
      const { stdout, stderr } = spawnSync(process.execPath, [program, '--print-launch', '--backend', 'vllm'], {
        encoding: 'utf8',
        env: { PATH: `${folder}:/usr/bin:/bin`, ...more },
      })
      return stdout + stderr
    }
    const smi = (lines: string) => `cat <<'END'\n${lines}END`
    expect(printed(smi(twoH100))).toMatch(
      /2 × NVIDIA H100 80GB HBM3 \(80 GB\): 2 of them .*\n(.|\n)*--tensor-parallel-size 2 /,
    )
    expect(printed(smi(twoH100), { CUDA_VISIBLE_DEVICES: '0' })).toMatch(/^worker: TRAMONTANE_TENSOR_PARALLEL: 1 ×/)
    const b200 = '0, GPU-1, NVIDIA B200, 183359, 10.0\n'
    expect(printed(smi(b200))).toMatch(/--tensor-parallel-size 1 .*--attention-backend TRITON_MLA/)
    expect(printed('exit 9')).toContain('The GPUs are not known here')
    const before = performance.now()
    expect(printed('exec sleep 60')).toContain('The GPUs are not known here')
    expect(performance.now() - before).toBeLessThan(45_000)
  }, 90_000)
})
