"""What runs inside the evaluations' stack: the reference library's graders, asked one sample at a time.

Only this package may import gpt_oss; nothing in the workbench imports it.
"""
