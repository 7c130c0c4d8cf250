/** The text that `npm start` prints: the address, a first request, and a note that the model is a toy. */
export function greeting(of: { baseUrl: string; modelId: string; apiKey: string; home: string; toy: boolean }): string {
  const toy = of.toy
    ? `
  The model is a toy with 14 million parameters and the architecture of Mistral Small 4. It shows that the product works
  but knows almost nothing. To serve the real model:  TRAMONTANE_MODEL=/path/to/mistral-small-4.gguf npm start
`
    : ''
  return `
  Tramontane is up.

  base URL   ${of.baseUrl}/v1
  API key    ${of.apiKey}
  model      ${of.modelId}
${toy}
  Try it:

    curl ${of.baseUrl}/v1/chat/completions \\
      -H "authorization: Bearer ${of.apiKey}" -H "content-type: application/json" \\
      -d '{"model": "${of.modelId}", "stream": true, "messages": [{"role": "user", "content": "Tell me a story about a fox."}]}'

  Ask "What is 478 + 356?" without and with "reasoning_effort": "high". Reasoning takes more tokens, and finds the answer.
  State is stored in ${of.home}. Press Ctrl-C to stop everything.
`
}
