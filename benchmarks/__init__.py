"""What the bench itself costs, measured: `python -m benchmarks` writes docs/benchmarks.md.

A part is a module with
    measure(quick) -> dict     real runs; only what JSON can hold, seconds as they were taken
    section(found) -> str      what that says, as Markdown
    verdicts(found) -> list    its targets, met or not
`quick` takes seconds and shows that it works; its numbers mean nothing.
"""

# name: what it is, in the order of the page
PARTS = {
    "overhead": "the data path, and a whole run against plain PyTorch",
    "methods": "a training step against the public implementations",
    "serving": "what an adapter costs when it serves",
    "start_up": "from the command to the first step, and one more run of a sweep",
    "plan": "`lowrank-plan` for models of billions of parameters",
    "reports": "the report, and what a sweep looks up, over thousands of runs",
    "threads": "one thread or two",
    "founding": "the founding sweep against a process a configuration",
}
