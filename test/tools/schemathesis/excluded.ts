/** Operations that the run leaves out, each with its reason. Names are those that Schemathesis uses. */
export const excluded: readonly { operation: string; reason: string }[] = [
  { operation: 'GET /', reason: 'Schemathesis follows its redirect and reads the page as the answer.' },
]
