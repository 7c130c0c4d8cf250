/**
 * The decision about every field of the vendors' request types, one dialect after the other. The test reads the types and
 * fails with the name of a field that is missing here: decide it in the schema of the dialect, then write it down.
 */
import type { FieldTable } from './field-table.ts'

export const decided: Record<'chat' | 'responses' | 'messages' | 'mistral', FieldTable> = {
  chat: {
    removed: ['tools[]<custom>'],
    objects: {
      '': {
        warned: 'audio logit_bias moderation prediction service_tier store verbosity web_search_options',
        read: 'frequency_penalty function_call functions logprobs max_completion_tokens max_tokens messages modalities model n parallel_tool_calls presence_penalty reasoning_effort response_format seed stop stream stream_options temperature tool_choice tools top_logprobs top_p',
        silent: 'metadata prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier user',
      },
      'content[]<file>': {
        read: 'file',
        silent: 'prompt_cache_breakpoint',
      },
      'content[]<file>.file': {
        read: 'file_data file_id filename',
      },
      'content[]<image_url>': {
        read: 'image_url',
        silent: 'prompt_cache_breakpoint',
      },
      'content[]<image_url>.image_url': {
        warned: 'detail',
        read: 'url',
      },
      'content[]<input_audio>': {
        read: 'input_audio prompt_cache_breakpoint',
      },
      'content[]<input_audio>.input_audio': {
        read: 'data format',
      },
      'content[]<input_audio>.prompt_cache_breakpoint': {
        read: 'mode ttl',
      },
      'content[]<refusal>': {
        read: 'refusal',
      },
      'content[]<text>': {
        silent: 'prompt_cache_breakpoint',
        read: 'text',
      },
      function_call: {
        read: 'name',
      },
      'functions[]': {
        read: 'description name parameters',
      },
      'messages[]<assistant>': {
        warned: 'audio name',
        read: 'content function_call refusal tool_calls',
      },
      'messages[]<assistant>.function_call': {
        read: 'arguments name',
      },
      'messages[]<developer>': {
        read: 'content',
        warned: 'name',
      },
      'messages[]<function>': {
        read: 'content name',
      },
      'messages[]<system>': {
        read: 'content',
        warned: 'name',
      },
      'messages[]<tool>': {
        read: 'content tool_call_id',
      },
      'messages[]<user>': {
        read: 'content',
        warned: 'name',
      },
      'response_format<json_schema>': {
        read: 'json_schema',
      },
      'response_format<json_schema>.json_schema': {
        warned: 'description',
        read: 'name schema strict',
      },
      stream_options: {
        warned: 'include_obfuscation',
        read: 'include_usage',
      },
      'tool_calls[]<custom>': {
        read: 'custom id',
      },
      'tool_calls[]<custom>.custom': {
        read: 'input name',
      },
      'tool_calls[]<function>': {
        read: 'function id',
      },
      'tool_calls[]<function>.function': {
        read: 'arguments name',
      },
      'tool_choice<allowed_tools>': {
        read: 'allowed_tools',
      },
      'tool_choice<allowed_tools>.allowed_tools': {
        read: 'mode tools',
      },
      'tool_choice<custom>': {
        read: 'custom',
      },
      'tool_choice<custom>.custom': {
        read: 'name',
      },
      'tool_choice<function>': {
        read: 'function',
      },
      'tool_choice<function>.function': {
        read: 'name',
      },
      'tools[]<function>': {
        read: 'function',
      },
      'tools[]<function>.function': {
        read: 'description name parameters strict',
      },
    },
  },
  responses: {
    removed: [
      'input[]<apply_patch_call>',
      'input[]<apply_patch_call_output>',
      'input[]<code_interpreter_call>',
      'input[]<compaction>',
      'input[]<compaction_trigger>',
      'input[]<computer_call>',
      'input[]<computer_call_output>',
      'input[]<configuration_update>',
      'input[]<developer>',
      'input[]<file_search_call>',
      'input[]<image_generation_call>',
      'input[]<local_shell_call>',
      'input[]<local_shell_call_output>',
      'input[]<mcp_approval_request>',
      'input[]<mcp_approval_response>',
      'input[]<mcp_call>',
      'input[]<mcp_list_tools>',
      'input[]<program>',
      'input[]<program_output>',
      'input[]<shell_call>',
      'input[]<shell_call_output>',
      'input[]<tool_search_call>',
      'input[]<tool_search_output>',
      'input[]<web_search_call>',
      'tools[]<apply_patch>',
      'tools[]<code_interpreter>',
      'tools[]<computer_use_preview>',
      'tools[]<file_search>',
      'tools[]<image_generation>',
      'tools[]<mcp>',
      'tools[]<namespace>',
      'tools[]<shell>',
      'tools[]<tool_search>',
      'tools[]<web_search_preview|web_search_preview_2025_03_11>',
      'tools[]<web_search|web_search_2025_08_26>',
    ],
    objects: {
      '': {
        warned: 'access_programs context_management image include max_tool_calls moderation service_tier',
        read: 'background conversation input instructions max_output_tokens metadata model parallel_tool_calls previous_response_id prompt prompt_cache_key reasoning safety_identifier store stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user',
        silent: 'prompt_cache_options prompt_cache_retention',
      },
      'content[]<input_file>': {
        warned: 'detail',
        read: 'file_data file_id file_url filename',
        silent: 'prompt_cache_breakpoint',
      },
      'content[]<input_image>': {
        warned: 'detail',
        read: 'file_id image_url',
        silent: 'prompt_cache_breakpoint',
      },
      'content[]<input_text>': {
        silent: 'prompt_cache_breakpoint',
        read: 'text',
      },
      'content[]<output_text>': {
        silent: 'annotations logprobs',
        read: 'text',
      },
      'content[]<reasoning_text>': {
        read: 'text',
      },
      'content[]<refusal>': {
        read: 'refusal',
      },
      conversation: {
        read: 'id',
      },
      'format<grammar>': {
        read: 'definition syntax',
      },
      'format<json_schema>': {
        warned: 'description',
        read: 'name schema strict',
      },
      'input[]<assistant>': {
        read: 'content',
        silent: 'id phase status',
      },
      'input[]<assistant|developer>': {
        read: 'content',
        silent: 'phase',
      },
      'input[]<custom_tool_call>': {
        warned: 'async namespace',
        read: 'call_id input name',
        silent: 'caller id',
      },
      'input[]<custom_tool_call_output>': {
        read: 'call_id output',
        silent: 'caller id',
      },
      'input[]<developer|system>': {
        read: 'content',
        silent: 'status',
      },
      'input[]<function_call>': {
        read: 'arguments call_id name',
        warned: 'async namespace',
        silent: 'caller id status',
      },
      'input[]<function_call_output>': {
        read: 'call_id output',
        silent: 'caller id name status',
        warned: 'namespace',
      },
      'input[]<item_reference>': {
        read: 'id',
      },
      'input[]<reasoning>': {
        read: 'content encrypted_content summary',
        silent: 'id status',
      },
      'output[]<input_file>': {
        warned: 'detail',
        read: 'file_data file_id file_url filename',
        silent: 'prompt_cache_breakpoint',
      },
      'output[]<input_image>': {
        warned: 'detail',
        read: 'file_id image_url',
        silent: 'prompt_cache_breakpoint',
      },
      'output[]<input_text>': {
        silent: 'prompt_cache_breakpoint',
        read: 'text',
      },
      prompt: {
        read: 'id variables version',
      },
      reasoning: {
        warned: 'context mode',
        read: 'effort generate_summary summary',
      },
      stream_options: {
        warned: 'include_obfuscation',
      },
      'summary[]<summary_text>': {
        read: 'text',
      },
      text: {
        read: 'format',
        warned: 'verbosity',
      },
      'tool_choice<allowed_tools>': {
        read: 'mode tools',
      },
      'tool_choice<custom>': {
        read: 'name',
      },
      'tool_choice<function>': {
        read: 'name',
      },
      'tool_choice<mcp>': {
        read: 'name server_label',
      },
      'tools[]<custom>': {
        warned: 'allowed_callers async defer_loading',
        read: 'description format name',
      },
      'tools[]<function>': {
        warned: 'allowed_callers async defer_loading output_schema',
        read: 'description name parameters strict',
      },
    },
  },
  messages: {
    removed: [
      'content[]<bash_code_execution_tool_result>',
      'content[]<browser_state>',
      'content[]<code_execution_tool_result>',
      'content[]<container_upload>',
      'content[]<redacted_thinking>',
      'content[]<server_tool_use>',
      'content[]<text_editor_code_execution_tool_result>',
      'content[]<tool_reference>',
      'content[]<tool_search_tool_result>',
      'content[]<web_fetch_tool_result>',
      'content[]<web_search_tool_result>',
      'tools[]<bash_20250124>',
      'tools[]<browser_toolset_20260801>',
      'tools[]<code_execution_20250522>',
      'tools[]<code_execution_20250825>',
      'tools[]<code_execution_20260120>',
      'tools[]<code_execution_20260521>',
      'tools[]<computer_toolset_20260801>',
      'tools[]<memory_20250818>',
      'tools[]<text_editor_20250124>',
      'tools[]<text_editor_20250429>',
      'tools[]<text_editor_20250728>',
      'tools[]<tool_search_tool_bm25|tool_search_tool_bm25_20251119>',
      'tools[]<tool_search_tool_regex|tool_search_tool_regex_20251119>',
      'tools[]<web_fetch_20250910>',
      'tools[]<web_fetch_20260209>',
      'tools[]<web_fetch_20260309>',
      'tools[]<web_fetch_20260318>',
      'tools[]<web_search_20250305>',
      'tools[]<web_search_20260209>',
      'tools[]<web_search_20260318>',
    ],
    objects: {
      '': {
        silent: 'cache_control metadata user_profile_id workspace_id',
        warned: 'container diagnostics inference_geo service_tier speed',
        read: 'max_tokens messages model output_config stop_sequences stream system thinking tool_choice tools',
      },
      'content[]<document>': {
        silent: 'cache_control',
        warned: 'citations',
        read: 'context source title',
      },
      'content[]<image>': {
        warned: 'cache_control transformations',
        read: 'source',
        silent: 'cache_control',
      },
      'content[]<search_result>': {
        silent: 'cache_control',
        warned: 'citations',
        read: 'content source title',
      },
      'content[]<text>': {
        silent: 'cache_control citations',
        read: 'text',
      },
      'content[]<thinking>': {
        read: 'signature thinking',
        warned: 'signature thinking',
      },
      'content[]<tool_result>': {
        warned: 'cache_control content is_error tool_use_id toolset_name',
        silent: 'cache_control',
        read: 'content is_error tool_use_id',
      },
      'content[]<tool_use>': {
        silent: 'cache_control caller',
        read: 'id input name',
        warned: 'cache_control caller id input name toolset_name',
      },
      'format<json_schema>': {
        read: 'schema',
      },
      'input_schema<object>': {
        read: 'properties required',
      },
      'messages[]<assistant>': {
        read: 'content',
      },
      'messages[]<system>': {
        read: 'content',
      },
      'messages[]<user>': {
        read: 'content',
      },
      output_config: {
        read: 'effort format',
      },
      'source<base64>': {
        warned: 'data media_type',
        read: 'data media_type',
        silent: 'media_type',
      },
      'source<content>': {
        read: 'content',
      },
      'source<file>': {
        read: 'file_id',
      },
      'source<text>': {
        read: 'data',
        silent: 'media_type',
      },
      'source<url>': {
        read: 'url',
        warned: 'url',
      },
      'system[]<text>': {
        silent: 'cache_control citations',
        read: 'text',
      },
      'thinking<adaptive>': {
        read: 'display',
      },
      'thinking<enabled>': {
        warned: 'budget_tokens',
        read: 'display',
      },
      'tool_choice<any>': {
        read: 'disable_parallel_tool_use',
      },
      'tool_choice<auto>': {
        read: 'disable_parallel_tool_use',
      },
      'tool_choice<tool>': {
        read: 'disable_parallel_tool_use name',
      },
      'tools[]<custom>': {
        warned: 'allowed_callers defer_loading eager_input_streaming input_examples',
        silent: 'cache_control',
        read: 'description input_schema name strict',
      },
    },
  },
  mistral: {
    removed: [
      'content[]<reference>',
      'thinking[]<reference>',
      'thinking[]<tool_reference>',
      'tools[]<code_interpreter>',
      'tools[]<connector>',
      'tools[]<document_library>',
      'tools[]<image_generation>',
      'tools[]<web_search>',
      'tools[]<web_search_premium>',
    ],
    objects: {
      '': {
        read: 'frequency_penalty max_tokens messages model n parallel_tool_calls presence_penalty prompt_mode random_seed reasoning_effort response_format safe_prompt stop stream temperature tool_choice tools top_p',
        warned: 'guardrails prediction service_tier',
        silent: 'metadata prompt_cache_key',
      },
      'content[]<document_url>': {
        read: 'document_name document_url',
      },
      'content[]<file>': {
        read: 'file_id',
      },
      'content[]<image_url>': {
        read: 'image_url',
      },
      'content[]<image_url>.image_url': {
        read: 'detail url',
        warned: 'detail',
      },
      'content[]<input_audio>': {
        read: 'input_audio',
      },
      'content[]<text>': {
        read: 'text',
      },
      'content[]<thinking>': {
        read: 'closed thinking',
        silent: 'closed signature',
        warned: 'thinking',
      },
      'messages[]<assistant>': {
        read: 'content prefix tool_calls',
      },
      'messages[]<assistant>.tool_calls[]': {
        read: 'function id',
        silent: 'index',
      },
      'messages[]<system>': {
        read: 'content',
      },
      'messages[]<tool>': {
        read: 'content tool_call_id',
        silent: 'name',
      },
      'messages[]<user>': {
        read: 'content',
      },
      response_format: {
        read: 'json_schema',
      },
      'response_format.json_schema': {
        warned: 'description',
        read: 'name schema strict',
      },
      'thinking[]<text>': {
        read: 'text',
      },
      'tool_calls[].function': {
        read: 'arguments name',
      },
      tool_choice: {
        read: 'function',
      },
      'tool_choice.function': {
        read: 'name',
      },
      'tools[]<function>': {
        read: 'function',
      },
      'tools[]<function>.function': {
        read: 'description name parameters strict',
      },
    },
  },
}
