// SPDX-License-Identifier: Apache-2.0
// How every script here runs: what an engine complains about fails it.
import {spawnSync} from 'node:child_process';

/// Runs `main` in a child process and fails when the engine wrote a line with "error" to standard error, which it may
/// do and then go on.
export async function guarded(main) {
  if (!process.env.QWQ_ENGINE_CHILD) {
    const child = spawnSync(process.execPath, process.argv.slice(1),
                            {env: {...process.env, QWQ_ENGINE_CHILD: '1'}, stdio: ['inherit', 'inherit', 'pipe'],
                             maxBuffer: 1 << 26});
    process.stderr.write(child.stderr);
    process.exit(child.status !== 0 || /error/i.test(child.stderr.toString()) ? child.status || 1 : 0);
  }
  try {
    await main();
  } catch (failure) {
    console.error(`error: ${failure.message}`);
    process.exit(1);
  }
}
