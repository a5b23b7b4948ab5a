"""What gpt-oss-nano speaks about, without torch: words, tools, conversations."""
