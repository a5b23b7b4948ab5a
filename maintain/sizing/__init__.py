"""`cookbook size`: how many GPUs of each target a load needs, from the records, else from what other hardware reached.

A step of the server takes its roofline time over the share of the roofline that a record reached at the same number of
requests in flight (`speed`). The layouts follow (`layouts`), and a simulated server shows what bursts do to them (`queueing`).
"""
