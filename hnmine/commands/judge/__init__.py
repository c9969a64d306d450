"""A language model as a judge: requests in OpenAI's format, replies, and the judgements that they give."""
