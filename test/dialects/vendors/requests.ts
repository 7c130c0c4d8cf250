/** The request types of the vendors' own packages. */
import type { MessageCreateParamsBase } from '@anthropic-ai/sdk/resources/messages/messages'
import type { ChatCompletionRequest$Outbound } from '@mistralai/mistralai/models/components'
import type { ChatCompletionCreateParamsBase } from 'openai/resources/chat/completions/completions'
import type { ResponseCreateParamsBase } from 'openai/resources/responses/responses'

export interface VendorRequests {
  chat: ChatCompletionCreateParamsBase
  responses: ResponseCreateParamsBase
  messages: MessageCreateParamsBase
  mistral: ChatCompletionRequest$Outbound
}
