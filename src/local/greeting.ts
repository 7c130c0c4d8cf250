/** What a newcomer reads first: where it is, how to try it, and that the model is a toy. */
export function greeting(of: { baseUrl: string; modelId: string; apiKey: string; home: string; toy: boolean }): string {
  const toy = of.toy
    ? `
  The model is a toy of 14 million parameters in the architecture of Mistral Small 4: it shows that everything works
  and knows next to nothing. To serve the real one:  TRAMONTANE_MODEL=/path/to/mistral-small-4.gguf npm start
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

  Ask it "What is 478 + 356?" without and with "reasoning_effort": "high": thinking costs tokens and buys the answer.
  State is kept in ${of.home}; Ctrl-C ends everything.
`
}
