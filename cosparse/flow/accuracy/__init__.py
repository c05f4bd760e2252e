"""`cosparse train --study`: what methods cost in accuracy, with paired seeds and honest intervals.

tasks       what is trained, and by which recipe
cells       methods x patterns x budgets x seeds of a named grid
records     finished runs in one file of JSON lines, which may be committed and is gone on from
runs        one run
planning    predicted core-hours, shards
statistics  paired differences, one-sided bounds, verdicts
table       text, pages and plots
"""
