"""Peak memory of one stage-2 step, in a process of its own: ``python -m benchmarks.memory [--lean]``.

On a GPU the most that tensors took; on a CPU the peak of resident memory less what the process held before the model
was made, with freed memory handed back to the system at once.
"""

import argparse
import json
import resource

import torch

from benchmarks.timing import seconds
from benchmarks.workload import Workload, step

GIB = 2**30


def main() -> None:
    """Run two steps, and print gibibytes and the second step's seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", default="small")
    parser.add_argument("--lean", action="store_true", help="with checkpointing and chunked cross-entropy")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    before = 0 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    work = Workload(options.shape, options.device, torch.bfloat16 if gpu else torch.float32)
    batch = work.batch(work.rows(8, 500))
    net, chunk = work.net(checkpointing=options.lean), 256 if options.lean else None
    step(net, [batch], 2, chunk)
    taken = seconds(lambda: step(net, [batch], 2, chunk))
    peak = torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_gib": (peak - before) / GIB, "seconds": taken}))


if __name__ == "__main__":
    main()
