"""Sweeps: many points of a scenario's space, their exact figures, one store.

axes, expressions, space    which points there are, as columns of numbers
objectives, samplers        which of them are evaluated
chunks, evaluate, executors what shares work stays together; here, in processes, on a cluster
variants, store, accuracy   workloads, figures and accuracies, each computed once
definition, run, result     a scenario's `sweep`, from its check to what is printed
"""
