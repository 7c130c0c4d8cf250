/** A process with the product's watchdog and one endless child. `block` on standard input blocks its event loop. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { startWatchdog } from '../../gpu-worker/watchdog.ts'

const [folder = ''] = process.argv.slice(2)
const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
startWatchdog({ workerId: 'w1', folder, childPids: () => (child.pid === undefined ? [] : [child.pid]) })
createInterface({ input: process.stdin }).on('line', (line) => {
  // The block ends after 60 s: a failed test must not leave a process that keeps a core busy.
  for (const until = Date.now() + 60_000; line === 'block' && Date.now() < until; );
  if (line === 'echo') process.stdout.write('alive\n')
})
// The watchdog must see the first count before the loop is blocked.
setTimeout(() => process.stdout.write(`ready ${child.pid}\n`), 600)
