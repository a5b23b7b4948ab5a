"""gpt-oss-nano inside a serving stack: the trainable twin, the training script and the checkpoint's builder."""
