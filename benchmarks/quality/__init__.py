"""Search quality on recorded problems: whole sweeps, ours and our peers', on one simulated clock.

Words, as `benchmarks/search_quality.py` prints them:

R           Seconds of a full training, averaged over a problem's random configurations.
T           A sweep's budget in seconds: a multiple of R that depends on the number of workers.
incumbent   The lowest loss that any trial has reported so far, at any step.
regret      (incumbent - best) / (median - best): 0 is the best that is known of the problem, 1 is a
            random configuration that was trained in full. What is worse than that, or nothing at
            all, counts as 1. Best and median come from the problem alone, never from the methods:
            see `problems.py`.
target      For each problem and number of workers, the loss that random search without early
            stopping has reached at T in the median seed.
speed-up    The median seed's time to the target under random search, over the method's.
hit rate    The share of seeds that reach the target within T.
idle        The share of the workers' time in which they had nothing to do.
interval    Of 95%, by bootstrap over the seeds. A difference is taken seed by seed: all methods
            see the same configurations' curves, and the random ones propose the same.
"""
