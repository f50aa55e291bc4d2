"""Load with Locust: many agents on one database, by the same operations, budgets and records as the bench.

Locust is gevent, the drivers are asyncio. What they share is small: Locust starts and stops agents, and the
web page is its own; each agent's life is one coroutine on one event loop in a thread of its own.

==============  ===========================================================================================
``patching``    first of all: gevent only where it may be, or a refusal that says what to do
``bridge``      the event loop in its thread, and how a greenlet waits for a coroutine
``agent``       one agent: its identity, its timetable, its calls
``crew``        all agents of one process, with the database they share and what was counted of them
``tally``       what was counted: histograms that merge exactly; pure
``ledger``      what agents were told is committed, held against what is there; pure
``present``     what is there, read from the database
``verdict``     tallies to measurements, verdicts, exit codes; pure
``keeper``      a process beside: servers, data, `statistics` of the database, migrations, the count
``keeping``     how the keeper is asked
``run``         one run from its first agent to its JSON, in the process that all workers report to
``events``      where Locust calls all of this
``options``     flags, which are fields of the web page too
``web``         our page in Locust's; ``live`` is what it shows
``stages``      what shapes of load do; the search for the knee; pure
``buckets``     Locust's own statistics, made fine enough
``cost``        what all of this costs per call, beside a bare event loop
==============  ===========================================================================================

Nothing of it is imported by the tests' own process but what is pure: gevent patches, and asyncio suffers.
"""
