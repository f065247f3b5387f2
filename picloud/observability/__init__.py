"""What PiCloud tells about itself to those who run it, logs aside.

``traceparent``  which trace and which span a run belongs to (W3C Trace Context)
``spans``        sends spans to an OpenTelemetry collector, where one is named
``tally``        counts what a process does
``metrics``      which figures are counted, their names and what they mean
``reporting``    brings the counts of all processes together, in Redis

A process that does nothing counts nothing, sends nothing and is not woken.
"""
