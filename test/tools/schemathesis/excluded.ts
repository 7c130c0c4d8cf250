/** Operations that the run leaves out, each with its reason. */
export const excluded: readonly { operation: string; reason: string }[] = []
