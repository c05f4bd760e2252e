"""Mutation testing of the RTL: does a test fail for every small change of a module?

    python -m tests.rtl.mutation --modules wuve_lane --count 10 --seed 0

`operators` finds what can be changed in a source, `mutants` draws from it by a seed, `covers` names the
tests of each module, `campaign` runs them and keeps what it learned, so that it can be cut short.
"""
