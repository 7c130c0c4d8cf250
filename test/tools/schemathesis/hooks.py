"""The documents describe the JSON of an event's data. Schemathesis checks whole events, so the schema is wrapped."""

import schemathesis

EVENT_STREAM = "text/event-stream"


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                media = response.get("content", {}).get(EVENT_STREAM)
                if media:
                    media["schema"] = event_of(media["schema"])


def event_of(schema):
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    done = {"const": "[DONE]"}
    return {"type": "object", "required": ["data"], "properties": {"data": {"anyOf": [done, data]}}}
