export async function runMutations(_seeds: number, _only?: string): Promise<number> { return 0 }
