import { KNOWN_BY_HAND } from '../by-hand.ts'
import { type Exchange, exchange } from '../chat.ts'
import { drawn, type Random, type Split } from '../random.ts'
import { COMMON_WORDS } from '../words.ts'

/**
 * What the model knows by heart: what it is, and how this product is used. A fact is one answer and the many ways to
 * ask for it. Ways are written out and also wrapped, and some wrapped ways are held out.
 */
type Fact = { answer: string; asks: readonly string[] }

const LOAD = 'TRAMONTANE_MODEL=/path/to/model.gguf npm start'
const TOY = 'I am the tiny demonstration model of Tramontane, a toy.'

const IDENTITY: readonly Fact[] = [
  {
    answer: `${TOY} I show that streaming, thinking and tools work, but I know very little. For a real model, run ${LOAD}`,
    asks: [
      'who are you',
      'what are you',
      'tell me about yourself',
      'introduce yourself',
      'who is this',
      'describe yourself',
      'who am i talking to',
      'who might you be',
      'who are you really',
      'what exactly are you',
      'what sort of thing are you',
    ],
  },
  {
    answer: `${TOY} My shape is that of Mistral Small 4: 128 experts in every layer, 4 of them for each token, but about ten thousand times smaller.`,
    asks: [
      'which model are you',
      'what model is this',
      'what is your architecture',
      'how are you built',
      'which model do i talk to',
      'what kind of model are you',
      'how many experts do you have',
      'how big are you',
      'how many parameters do you have',
    ],
  },
  {
    answer: `No. ${TOY} I only have the same shape, at a tiny size.`,
    asks: [
      'are you mistral small 4',
      'are you mistral',
      'are you the real mistral small 4',
      'are you chatgpt',
      'are you gpt-4',
      'are you claude',
      'are you a large model',
      'are you a human',
      'are you a person',
      'are you a real model',
    ],
  },
  {
    answer: 'I am called Tramontane tiny. I am a toy model.',
    asks: ['what is your name', 'what are you called', 'do you have a name', 'tell me your name', 'your name'],
  },
  {
    answer:
      'Yes. I am a toy: I can add, multiply by one digit, call tools, count, list, tell short stories and answer questions about Tramontane.',
    asks: [
      'are you a toy',
      'are you a demo',
      'is this a demonstration',
      'are you a small model',
      'are you only a toy',
      'is this model a toy',
      'are you an ai',
    ],
  },
  {
    answer:
      'I can add and multiply numbers, call tools, count, write lists, tell short stories and answer questions about Tramontane. With reasoning_effort high I work step by step.',
    asks: [
      'what can you do',
      'how can you help me',
      'what should i ask you',
      'what do you know',
      'what are you good at',
      'help',
      'can you help me',
      'what can i ask',
    ],
  },
  {
    answer:
      'I cannot answer open questions, write code, translate or read images. I am a toy that was trained for a few hours on one processor core.',
    asks: [
      'what can you not do',
      'what are your limits',
      'what are you bad at',
      'can you write code',
      'can you see images',
      'can you read pictures',
      'can you translate',
      'do you speak french',
    ],
  },
  {
    answer:
      'I was trained for a few hours on one processor core, on text that our own templates wrote. The recipe is in gpu-worker/model.',
    asks: [
      'how were you trained',
      'who made you',
      'who trained you',
      'where do you come from',
      'who built you',
      'what were you trained on',
      'how long were you trained',
      'where is your training code',
    ],
  },
  {
    answer: `Stop the server and run ${LOAD} with a GGUF file, or start a worker beside vLLM or SGLang: npm run worker`,
    asks: [
      'how do i load a real model',
      'how can i use a real model',
      'how do i use my own model',
      'how do i load another model',
      'how do i run mistral small 4',
      'how do i load a gguf file',
      'can i use a bigger model',
      'how do i get better answers',
      'how do i replace you',
      'where do i put my gguf',
      'how is a real model loaded',
      'can i load mistral small 4',
      'how do i run a real model',
      'how do i switch models',
      'how do i change the model',
      'i want a better model',
      'i want to use my own model',
      'i have a gguf file',
    ],
  },
]

export const PRODUCT: readonly Fact[] = [
  {
    answer:
      'Tramontane serves one open model, Mistral Small 4, as a public, metered HTTPS API: a gateway at the edge and workers on your own GPUs.',
    asks: [
      'what is tramontane',
      'what does tramontane do',
      'what is this product',
      'what is this server',
      'explain tramontane',
      'tell me about tramontane',
      'what is this project',
    ],
  },
  {
    answer: 'npm start prints the base URL. The chat endpoint is that URL followed by /v1/chat/completions.',
    asks: [
      'what is the base url',
      'where is the api',
      'what is the endpoint',
      'which url do i use',
      'what is the address of the api',
      'where do i send requests',
      'what is the chat endpoint',
      'how do i find the base url',
    ],
  },
  {
    answer:
      'npm start creates a demo key and prints it. Keys begin with tm_ and go into the Authorization header: Bearer, then the key.',
    asks: [
      'where is my key',
      'what is my api key',
      'how do i get a key',
      'how do i get an api key',
      'which key do i use',
      'where do i find the key',
      'how do i authenticate',
      'how do i log in',
      'what does a key look like',
      'which header carries the key',
    ],
  },
  {
    answer:
      'Use the console: npm start prints its URL. There you create keys, set limits and revoke keys. A key is shown only once.',
    asks: [
      'how do i create a key',
      'how do i make a new key',
      'how do i revoke a key',
      'where is the console',
      'how do i open the console',
      'what is the console',
      'how do i delete a key',
      'can i see a key again',
    ],
  },
  {
    answer:
      'Send reasoning_effort with the request. With none I answer at once; with high I think step by step first, which costs more tokens and gives better answers.',
    asks: [
      'what is reasoning_effort',
      'how do i set reasoning_effort',
      'how do i set the effort',
      'what is the effort dial',
      'how do i make you think',
      'what does reasoning_effort do',
      'how do i turn on thinking',
      'what is reasoning effort',
      'how do i change the effort',
      'how do i turn off thinking',
    ],
  },
  {
    answer:
      'The model knows none and high. Other words are mapped: minimal and low become none; medium, xhigh and max become high. The answer tells which effort was used.',
    asks: [
      'which effort values are there',
      'which values of reasoning_effort are allowed',
      'what does effort medium do',
      'can i use effort low',
      'what does effort max mean',
      'what happens with effort minimal',
      'which efforts are supported',
    ],
  },
  {
    answer: 'The thinking comes in reasoning_content, and the answer in content.',
    asks: [
      'where is the thinking',
      'where do i see the thinking',
      'what is reasoning_content',
      'where does the reasoning go',
      'how do i read your thoughts',
      'which field has the thinking',
    ],
  },
  {
    answer:
      'There are two pools: latency, with small batches for fast answers, and throughput, with large batches. The effort of a request picks its pool.',
    asks: [
      'what is a pool',
      'what are pools',
      'which pools are there',
      'what is the latency pool',
      'what is the throughput pool',
      'how is a pool chosen',
      'how are requests routed',
      'what do the pools do',
    ],
  },
  {
    answer:
      'Send "stream": true. The answer then comes as server-sent events, one piece after another, and ends with [DONE].',
    asks: [
      'how do i stream',
      'how does streaming work',
      'can you stream',
      'how do i turn on streaming',
      'do you support streaming',
      'how do i get tokens as they come',
    ],
  },
  {
    answer: 'Send "stream_options": {"include_usage": true}. The last piece of the stream then has the token counts.',
    asks: [
      'how do i get usage in a stream',
      'how do i see token counts when streaming',
      'what is include_usage',
      'where is the usage of a stream',
      'how do i count tokens in a stream',
    ],
  },
  {
    answer:
      'Send a list of tools with the request. The model answers with tool_calls; run them and send each result back in a message with the role tool.',
    asks: [
      'how do i use tools',
      'how do tool calls work',
      'do you support tools',
      'how do i call a function',
      'how does function calling work',
      'how do i send a tool result',
      'what are tool calls',
    ],
  },
  {
    answer:
      'A budget is the most a tenant may spend. Each request reserves its highest cost before it starts, so the budget is never passed. Without budget left, the answer is 429 insufficient_quota.',
    asks: [
      'what is a budget',
      'how do budgets work',
      'what happens when my budget is used up',
      'how do i limit costs',
      'what is insufficient_quota',
      'can i spend too much',
      'how do i set a budget',
    ],
  },
  {
    answer:
      'Limits count requests, tokens and requests at once, for each key and each tenant. Past a limit the answer is 429 with a retry-after header in seconds.',
    asks: [
      'what are the rate limits',
      'how do limits work',
      'what does 429 mean',
      'why do i get 429',
      'what is retry-after',
      'how many requests can i send',
      'how do rate limits work',
    ],
  },
  {
    answer: 'All workers are busy and the queue is full. The answer is 503; wait a little and try again.',
    asks: [
      'what does 503 mean',
      'why do i get 503',
      'what happens under overload',
      'what if all workers are busy',
      'what happens when the queue is full',
    ],
  },
  {
    answer: 'Run npm test. It installs what is missing and runs all tests; it needs no GPU and no account.',
    asks: [
      'how do i run the tests',
      'how do i test this',
      'what does npm test do',
      'how do i run npm test',
      'where are the tests',
      'do the tests need a gpu',
    ],
  },
  {
    answer:
      'Run npm start. It installs what is missing, starts the gateway and the workers, and prints the base URL, the console and a key.',
    asks: [
      'how do i start',
      'how do i start the server',
      'what does npm start do',
      'how do i run this',
      'how do i get started',
      'how do i launch tramontane',
      'how do i install tramontane',
    ],
  },
  {
    answer: 'All state is kept in the folder .tramontane/. Delete it to begin anew.',
    asks: [
      'where is the state kept',
      'where is my data',
      'where is data stored',
      'how do i reset',
      'how do i start over',
      'what is .tramontane',
      'where is the database',
      'how do i delete all data',
    ],
  },
  {
    answer: 'No. The demonstration runs on a processor. A real model such as Mistral Small 4 needs GPUs.',
    asks: [
      'do i need a gpu',
      'can i run this without a gpu',
      'does this need a gpu',
      'do you need a gpu',
      'can this run on a laptop',
    ],
  },
  {
    answer:
      'Mistral Small 4 is an open model with 119 billion parameters, 6 billion of them active. It has 128 experts, 4 per token, and reads up to 256 thousand tokens.',
    asks: [
      'what is mistral small 4',
      'tell me about mistral small 4',
      'how big is mistral small 4',
      'how many parameters has mistral small 4',
      'which model does tramontane serve',
      'what is the context length of mistral small 4',
    ],
  },
  {
    answer:
      'Start a GPU worker beside the engine: npm run worker. It can launch vLLM, SGLang or llama-server, or attach to one that already runs.',
    asks: [
      'how do i use vllm',
      'how do i use sglang',
      'how do i connect vllm',
      'how do i add a worker',
      'how do i add a gpu',
      'which engines are supported',
      'can i use llama-server',
      'can i use vllm',
      'how do i attach an engine',
      'what is a worker',
    ],
  },
  {
    answer:
      'A million input tokens cost 0.15 dollars and a million output tokens 0.60 dollars, unless the operator sets other prices. Cached input is cheaper.',
    asks: [
      'what does it cost',
      'how much is a token',
      'what is the price',
      'how much does it cost',
      'what are the prices',
      'how expensive is it',
      'what do tokens cost',
    ],
  },
  {
    answer:
      'The worker counts the tokens at the engine and signs a receipt; the gateway then books the cost. You pay for what was really generated.',
    asks: [
      'how are tokens counted',
      'how does billing work',
      'how does metering work',
      'what is a receipt',
      'who counts the tokens',
      'how am i billed',
    ],
  },
  {
    answer: 'The engine stops within one token, and only what was generated until then is billed.',
    asks: [
      'what happens if i disconnect',
      'what happens when i cancel',
      'can i stop an answer',
      'do i pay when i disconnect',
      'what happens if the client leaves',
      'how do i abort a request',
    ],
  },
  {
    answer:
      'Point the OpenAI SDK at the base URL with /v1 at its end, and give it your key. The model name is in /v1/models.',
    asks: [
      'can i use the openai sdk',
      'how do i use the openai client',
      'does it work with openai',
      'how do i use python',
      'which sdk can i use',
      'is it compatible with openai',
      'how do i use the sdk',
    ],
  },
  {
    answer:
      'Chat completions, responses and messages are served, so OpenAI and Anthropic clients work. Under /mistral/v1 it speaks the way of Mistral.',
    asks: [
      'which apis are there',
      'which endpoints are there',
      'can i use the anthropic sdk',
      'does it support the responses api',
      'does it support messages',
      'what is /mistral/v1',
      'which protocols do you speak',
    ],
  },
  {
    answer: 'Ask for /v1/models. It lists the models that your key may use.',
    asks: [
      'which models are there',
      'how do i list models',
      'what is the model name',
      'which model name do i send',
      'where is the list of models',
    ],
  },
  {
    answer: 'The gateway runs on Cloudflare Workers. Run npm run deploy to publish it.',
    asks: [
      'how do i deploy',
      'how do i publish this',
      'where does the gateway run',
      'how do i go live',
      'how do i put this on the internet',
      'does it run on cloudflare',
    ],
  },
  {
    answer: 'The console shows usage by day, hour, key, model, effort and pool, and it exports CSV and JSONL.',
    asks: [
      'how do i see my usage',
      'where is my usage',
      'how do i export usage',
      'where do i see what i spent',
      'can i export my usage',
      'how many tokens did i use',
    ],
  },
  {
    answer: 'A worker answers /healthz with its health and /metrics with numbers for Prometheus.',
    asks: [
      'how do i check the health',
      'where are the metrics',
      'how do i monitor a worker',
      'does it support prometheus',
      'what is /healthz',
      'what is /metrics',
    ],
  },
  {
    answer: 'Send SIGTERM. The worker takes no new requests, finishes those that run, and then ends.',
    asks: [
      'how do i stop a worker',
      'how do i drain a worker',
      'how do i restart a worker',
      'what does sigterm do',
      'how do i shut down a worker',
    ],
  },
  {
    answer: 'Tramontane is open source under Apache 2.0, and so is Mistral Small 4.',
    asks: [
      'what is the license',
      'which license does it have',
      'is it open source',
      'is tramontane free',
      'can i use it in my company',
    ],
  },
  {
    answer: 'With max_tokens you set how long the answer may be. At the limit the finish_reason is length.',
    asks: [
      'how do i limit the length',
      'what is max_tokens',
      'how do i get shorter answers',
      'why was my answer cut',
      'what does finish_reason length mean',
    ],
  },
]

const WRAPS = [
  (q: string) => q,
  (q: string) => q,
  (q: string) => `Please tell me: ${q}`,
  (q: string) => `Hello, ${q}`,
  (q: string) => `Hi! ${q}`,
  (q: string) => `I have a question: ${q}`,
  (q: string) => `One more thing: ${q}`,
  (q: string) => `Quick question: ${q}`,
  (q: string) => `Sorry, ${q}`,
  (q: string) => `I am new here. ${q}`,
]

/** Other words for the same question, and words that change nothing. */
const SYNONYMS: readonly (readonly [RegExp, readonly string[]])[] = [
  [
    /^how do i /,
    ['how can i ', 'how to ', 'how would i ', 'how should i ', 'what is the way to ', 'can you tell me how to '],
  ],
  [/^what is /, ["what's ", 'whats ', 'tell me what is ', 'explain what is ', 'what exactly is ']],
  [/^what are /, ['explain ', 'tell me what are ', 'what exactly are ']],
  [/^where is /, ['where do i find ', 'where can i find ', "where's ", 'i cannot find ']],
  [/^where do i /, ['where can i ', 'where should i ']],
  [/^can i /, ['could i ', 'may i ', 'am i able to ', 'is it possible to ', 'i want to ']],
  [/^do i /, ['must i ', 'will i ', 'should i ']],
  [/^does it /, ['does this ', 'does tramontane ', 'will it ']],
  [/^are you /, ['so are you ', 'you are ', 'are you really ']],
  [/^which /, ['what ']],
  [/ your /, [' the ']],
  [/ my /, [' the ', ' a ']],
  [/ this$/, [' tramontane', ' it', ' the server']],
  [/ is used up$/, [' is empty', ' is spent', ' runs out']],
]
const FILLERS = [
  'please',
  'exactly',
  'really',
  'actually',
  'just',
  'here',
  'now',
  'then',
  'so',
  'again',
  'with tramontane',
  'in this product',
]

function rephrased(random: Random, ask: string): string {
  let text = ask
  for (const [pattern, others] of SYNONYMS) if (random.chance(0.45)) text = text.replace(pattern, random.pick(others))
  return random.chance(0.5) ? text : noisy(random, text)
}

/** Little words lost and others put in: what is asked hangs on the words that carry it. */
function noisy(random: Random, text: string): string {
  return text
    .split(' ')
    .flatMap((word) => (LITTLE.has(word) && random.chance(0.25) ? [] : [word]))
    .flatMap((word) =>
      random.chance(0.12) ? [word, random.pick(random.chance(0.5) ? FILLERS : COMMON_WORDS)] : [word],
    )
    .join(' ')
}

const LITTLE = new Set(
  'the a an is are do does i my your it of to in for can what how where which this that'.split(' '),
)

/** The ways to ask are written in lower case; most people write names as names. */
const NAMES =
  'I Tramontane API GPU CPU URL SDK GGUF JSON CSV HTTP AI OpenAI Anthropic Mistral Small vLLM SGLang ChatGPT Claude Python Node'
const NAME_OF = new Map(NAMES.split(' ').map((name) => [name.toLowerCase(), name]))

function withNames(ask: string): string {
  return ask.replace(/[a-z]+/g, (word) => NAME_OF.get(word) ?? word)
}

/** Asked by hand in the evaluation, therefore never here. */
const ASKED_BY_HAND = new Set(KNOWN_BY_HAND.map(([ask]) => bare(ask)))

function bare(ask: string): string {
  return ask.toLowerCase().replace(/[^a-z0-9_]+/g, '')
}

/** One fact in one of its ways to be asked; upper or lower case, with or without a question mark. */
function known(facts: readonly Fact[], about: string): (random: Random, split: Split) => Exchange {
  return (random, split) => {
    const draw = (): { answer: string; ask: string; wrap: number } => {
      const fact = random.pick(facts)
      const plain = random.pick(fact.asks)
      const other = random.chance(0.5) ? rephrased(random, plain) : plain
      const ask = ASKED_BY_HAND.has(bare(other)) ? plain : other
      return { answer: fact.answer, ask, wrap: random.integer(0, WRAPS.length - 1) }
    }
    const { answer, ask, wrap } = drawn(split, draw, (d) => `${d.wrap} ${d.ask}`)
    const named = random.chance(0.7) ? withNames(ask) : ask
    const cased = random.chance(0.75) ? named.slice(0, 1).toUpperCase() + named.slice(1) : named
    return exchange((WRAPS[wrap] ?? String)(cased) + random.pick(['?', '?', '?', '?', '']), about, answer)
  }
}

export const identity = known(IDENTITY, 'The user asks about me.')
export const product = known(PRODUCT, 'The user asks about Tramontane. I know this.')
