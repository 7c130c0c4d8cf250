/**
 * `npm run sim -- --mutations [--seeds N] [--only text]`: breaks the product on purpose, one line at a time, in a copy
 * of the tree, and prints which seeds notice and which invariant fires. A mutation that no seed notices is a gap.
 */
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { SimulationReport } from './run.ts'

interface Mutation {
  name: string
  file: string
  /** Occurs exactly once in the file. */
  from: string
  to: string
}

const mutations: readonly Mutation[] = [
  {
    name: 'bill a failed run',
    file: 'src/tenant/ledger/ledger.ts',
    from: "if (charge.failed) return { answer: 'wasted'",
    to: "if (false) return { answer: 'wasted'",
  },
  {
    name: 'bill a hosted answer that broke off',
    file: 'src/chat/hosted-usage.ts',
    from: "outcome: end === 'failed' ? 'failed' : end === 'abort'",
    to: "outcome: end === 'abort'",
  },
  {
    name: 'bill a hosted answer at the own rates',
    file: 'src/tenant/account.ts',
    from: '? this.#hostedRates(request.model, now) : null',
    to: '? (this.store.rateCards.ratesAt(request.model, now) ?? null) : null',
  },
  {
    name: 'do not raise the reservation for a hosted answer',
    file: 'src/chat/hosted-call.ts',
    from: 'promptTokensMax, hostedCard(id))',
    to: 'promptTokensMax)',
  },
  {
    name: 'count a missing hosted usage as zero',
    file: 'src/chat/hosted-usage.ts',
    from: 'promptTokens: Math.ceil(terms.textBytes / terms.bytesPerToken) + terms.otherTokensMax',
    to: 'promptTokens: 0',
  },
  {
    name: 'do not mark an estimate',
    file: 'src/chat/hosted-usage.ts',
    from: 'estimated: changed || this.#usage === undefined || this.#reasoningBytes > 0',
    to: 'estimated: false',
  },
  {
    name: 'free a slot twice',
    file: 'gpu-worker/slots.ts',
    from: '    this.#held.delete(requestId)\n    this.#free.push(slot)',
    to: '    this.#held.delete(requestId)\n    this.#free.push(slot, slot)',
  },
  {
    name: 'free a slot after its receipt is delivered',
    file: 'gpu-worker/relay.ts',
    from: '    work.freeSlot()\n',
    to: '',
  },
  {
    name: 'do not free a slot',
    file: 'gpu-worker/run-dispatch.ts',
    from: '    parts.slots.release(dispatch.requestId)\n',
    to: '',
  },
  {
    name: 'keep a lease that its worker does not run',
    file: 'src/fleet/registry.ts',
    from: 'if (!running.has(requestId) && now - at > graceMs)',
    to: 'if (false)',
  },
  {
    name: 'leave a client that left in the queue',
    file: 'src/fleet/lease.ts',
    from: "  left.addEventListener('abort', cancel, { once: true })\n",
    to: '',
  },
  {
    name: 'ask for a slot for a client that has left',
    file: 'src/chat/run-attempts.ts',
    from: "    if (this.#options.context.left.aborted) return { kind: 'client-left', ran: false }\n    switch",
    to: '    switch',
  },
  {
    name: 'do not void after a client left the queue',
    file: 'src/chat/deliver.ts',
    from: 'if (!answered) attempts.cancel()',
    to: '',
  },
  {
    name: 'do not void after every attempt failed',
    file: 'src/chat/run-attempts.ts',
    from: '    context.waitUntil(voided(',
    to: '    if (context.left.aborted) context.waitUntil(voided(',
  },
  {
    name: 'do not stop the engine of a client that left',
    file: 'gpu-worker/relay.ts',
    from: "  response.on('close', () => left.abort())\n",
    to: '',
  },
  {
    name: 'accept a receipt above its bound',
    file: 'src/settlement/verdict.ts',
    from: 'return fault === undefined ?',
    to: 'return true ?',
  },
  {
    name: 'accept a receipt without a proof',
    file: 'src/settlement/verdict.ts',
    from: 'if (!isProven(',
    to: 'if (false && !isProven(',
  },
  {
    name: 'settle a repeated receipt twice',
    file: 'src/tenant/ledger/ledger.ts',
    from: "if (past.known) return { answer: 'already-posted' }",
    to: '',
  },
  {
    name: 'acknowledge receipts that their tenant did not settle',
    file: 'src/settlement/receipts.ts',
    from: '  } catch (error) {\n    console.error(\n      `receipts: tenant',
    to: '  } catch (error) {\n    for (const { receipt } of group) done.push(receipt.dispatchId)\n    console.error(\n      `receipts: tenant',
  },
  {
    name: 'post more than the bound over several receipts',
    file: 'src/tenant/ledger/ledger.ts',
    from: 'Math.max(0, reservation.boundNano - past.postedNano)',
    to: 'reservation.boundNano',
  },
  {
    name: 'charge a late receipt beyond the budgets',
    file: 'src/tenant/ledger/ledger.ts',
    from: 'Math.max(0, Math.min(lateNano, leftNano(account)))',
    to: 'Math.max(0, leftNano(account))',
  },
  {
    name: 'admit beyond the credit',
    file: 'src/tenant/ledger/ledger.ts',
    from: "if (request.boundNano > left) return { answer: 'insufficient', leftNano: left }",
    to: '',
  },
  {
    name: 'forget a void that came before its admission',
    file: 'src/tenant/account.ts',
    from: 'this.store.earlyVoids.add(requestId)',
    to: 'this.store.earlyVoids.has(requestId)',
  },
  {
    name: 'keep the memory of a transaction that was rolled back',
    file: 'src/tenant/transactions.ts',
    from: '      this.#account.forget()\n      // An alarm',
    to: '      // An alarm',
  },
  {
    name: 'expire a reservation while a worker has its receipt',
    file: 'src/tenant/overdue.ts',
    from: 'if (known.owed.has(reservation.requestId)) return',
    to: 'if (false) return',
  },
  {
    name: 'expire a reservation while the fleet is not complete',
    file: 'src/tenant/inquire.ts',
    from: ' || !complete',
    to: '',
  },
  {
    name: 'send more of an answer from a second worker',
    file: 'src/chat/deliver.ts',
    from: '    const own = answered !== undefined && cause instanceof GatewayError\n',
    to: '    const own = answered !== undefined && cause instanceof GatewayError\n    if (answered && !own) return sendStream(delivery, delivery.attempts.another(answered), writable)\n',
  },
  {
    name: 'ignore the excluded workers',
    file: 'src/fleet/worker.ts',
    from: '!exclude.includes(heartbeat.workerId)',
    to: 'true',
  },
  {
    name: 'skip the reservation of a longer prompt',
    file: 'src/chat/attempts.ts',
    from: "return { state: seen, effects, step: { kind: 'reserve-more', promptTokens } }",
    to: 'return attempt({ ...seen, raised: true, promptTokens, boundNano: 9 * seen.boundNano }, effects)',
  },
  {
    name: 'run a repeated idempotent request again',
    file: 'src/responses/replay-rows.ts',
    from: '    if (!row) {\n      this.#answers.remove(replayId)',
    to: '    if (true) {\n      this.#answers.remove(replayId)',
  },
  {
    name: 'accept the heartbeat of a second process',
    file: 'src/fleet/enrolment-check.ts',
    from: 'if (!this.#leads(entry, heartbeat, now))',
    to: 'if (false)',
  },
  {
    name: 'do not recover the requests of a dead process',
    file: 'gpu-worker/worker.ts',
    from: 'for (const receipt of this.#outbox.recover(name, now()))',
    to: 'for (const receipt of [] as ReturnType<Outbox["recover"]>)',
  },
  {
    name: 'send the last byte before the receipt is stored',
    file: 'gpu-worker/relay.ts',
    from: '    outbox.finish(receipt)\n',
    to: '    setTimeout(() => outbox.finish(receipt), 50)\n',
  },
  {
    name: 'end a stream in order when its worker is lost',
    file: 'src/chat/deliver.ts',
    from: 'const delivered = !context.left.aborted && (await sendError(delivery, error, writable))',
    to: 'const delivered = !context.left.aborted',
  },
  {
    name: 'accept a response as kept that is not stored',
    file: 'src/responses/previous-response.ts',
    from: 'if (days === 0) return false',
    to: 'if (days === 0) return true',
  },
]

const root = fileURLToPath(new URL('../..', import.meta.url))
const limitMs = 15 * 60_000
/** A mutation that this many seeds notice needs no more. */
const enough = 3

/** @returns the exit code: 1 if a mutation was not noticed */
export async function runMutations(seeds: number, only: string | undefined): Promise<number> {
  const tree = mkdtempSync(join(tmpdir(), 'tramontane-mutations-'))
  try {
    copyTree(tree)
    for (const mutation of mutations) mutated(tree, mutation)
    const gaps: string[] = []
    for (const mutation of mutations.filter(({ name }) => only === undefined || name.includes(only))) {
      const caught = await withMutation(tree, mutation, () => simulate(tree, seeds))
      if (caught.violations.length === 0) gaps.push(mutation.name)
      console.log(row(mutation, caught))
    }
    console.log(gaps.length === 0 ? 'every mutation was noticed' : `not noticed: ${gaps.join('; ')}`)
    return gaps.length === 0 ? 0 : 1
  } finally {
    rmSync(tree, { recursive: true, force: true })
  }
}

function copyTree(tree: string): void {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  for (const path of listed.trim().split('\n')) {
    if (!/^(src|backends|gpu-worker|test\/(sim|tools\/bench))\/.*\.(ts|json|sql)$|^package\.json$/.test(path)) continue
    mkdirSync(join(tree, dirname(path)), { recursive: true })
    cpSync(join(root, path), join(tree, path))
  }
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
}

/** The file with the mutation. Throws if the product no longer has the text. */
function mutated(tree: string, { name, file, from, to }: Mutation): string {
  const text = readFileSync(join(tree, file), 'utf8')
  if (text.split(from).length !== 2) throw new Error(`${name}: ${file} must contain this once: ${from}`)
  // A function: `$` has a meaning in a replacement text.
  return text.replace(from, () => to)
}

async function withMutation<Result>(tree: string, mutation: Mutation, work: () => Promise<Result>): Promise<Result> {
  const path = join(tree, mutation.file)
  const text = readFileSync(path, 'utf8')
  writeFileSync(path, mutated(tree, mutation))
  try {
    return await work()
  } finally {
    writeFileSync(path, text)
  }
}

interface Caught {
  /** Seeds that ran until enough of them noticed. */
  ran: number
  violations: SimulationReport['violations']
}

/** A program that ends without a report has noticed too: the mutation broke it. */
function simulate(tree: string, seeds: number): Promise<Caught> {
  const args = ['test/sim/run.ts', '--json', '--seeds', String(seeds), '--violations', String(enough)]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: tree, timeout: limitMs, maxBuffer: 2 ** 28 }, (_error, stdout, stderr) => {
      try {
        const { seeds: ran, violations } = JSON.parse(stdout) as SimulationReport
        resolve({ ran, violations })
      } catch {
        const invariant = `the program ended: ${stderr.slice(-200)}`
        resolve({ ran: 0, violations: [{ seed: -1, invariant, text: '' }] })
      }
    })
  })
}

/** The invariants, the most frequent first. */
function row({ name }: Mutation, { ran, violations }: Caught): string {
  const counts = [...Map.groupBy(violations, ({ invariant }) => invariant)].map(
    ([invariant, all]) => [invariant, all.length] as const,
  )
  const fired = counts
    .sort(([, a], [, b]) => b - a)
    .slice(0, 3)
    .map(([invariant, times]) => `${invariant} (${times})`)
  const first = violations[0] === undefined ? '' : `first seed ${violations[0].seed}`
  return `| ${name} | ${violations.length} of ${ran} | ${first} | ${fired.join('; ')} |`
}
