"""gpt-oss-nano inside a serving stack: its geometry, its tokenizer and the checkpoint's builder."""
