"""One of two processes that train what they are told, until their input ends: started by `conftest.Pair`."""

import json
import sys
import traceback

import observed_runs
import torch


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            result = observed_runs.observe(job["arguments"], **job["options"])
        except Exception:
            result = {"error": traceback.format_exc()}
        torch.save(result, job["result"])
        print("done", flush=True)


if __name__ == "__main__":
    main()
