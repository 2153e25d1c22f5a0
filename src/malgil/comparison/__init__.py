"""One data set, one budget, every architecture: which model to use for this text, on this machine, in this time.

    request ──planning──> plan.json ──> jobs, one at a time, each a process of its own ──> job.json each
                                                                   │
                                        rows, intervals, ties ──> compare.json ──> report.html

No file here names a family, an objective or a recipe. What a kind of data measures is said by its task
(`malgil.runs.compared`), and which recipes are compared by default by the recipes themselves.
"""
