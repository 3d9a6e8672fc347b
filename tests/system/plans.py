"""Plays seeded random plans of faults on a small job; script/chaos calls it."""

import argparse
import os
import shutil
import sys
import tempfile

from harness import programs
from harness.chaos import MODES, Trial, line_of
from harness.data_set import write_data_set


def parse():
    parser = argparse.ArgumentParser(prog="script/chaos", description=(
        "Trains a small job once undisturbed, then through seeded random plans of faults. Each plan must end with the same "
        "weights (sync), every minibatch applied exactly once, few steps recomputed, every fault in the summary, and no "
        "process left."))
    parser.add_argument("--plans", type=int, default=10, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the first plan; others follow (default: 1)")
    parser.add_argument("--plan-seed", type=int, metavar="S", help="only this plan again")
    parser.add_argument("--mode", choices=sorted(MODES), default="sync")
    parser.add_argument("--backups", type=int, default=0, metavar="N", help="of each shard (default: %(default)s)")
    parser.add_argument("--keep", metavar="FOLDER", help="where runs go and stay (default: only those that fail stay)")
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse()
    programs.set_folder(options.programs)
    root = os.path.abspath(options.keep) if options.keep else tempfile.mkdtemp(prefix="tessera-chaos-")
    os.makedirs(root, exist_ok=True)
    trial = Trial(root, write_data_set(os.path.join(root, "data")), options.mode, options.backups)
    trial.undisturbed()
    print(f"undisturbed: digest {trial.digest}, mode {options.mode}, {options.backups} backups, runs in {root}", flush=True)
    seeds = [options.plan_seed] if options.plan_seed is not None else range(options.seed, options.seed + options.plans)
    failed = []
    for seed in seeds:
        plan, result, found = trial.play(seed)
        print(line_of(seed, plan, result, found), flush=True)
        folder = os.path.join(root, f"plan-{seed}")
        if found:
            failed.append(seed)
            print(f"  logs: {folder}; again: script/chaos --mode {options.mode} --backups {options.backups} --plan-seed {seed}", flush=True)
        elif not options.keep:
            shutil.rmtree(folder)
    print(f"{len(seeds) - len(failed)} of {len(seeds)} plans hold" + (f"; failed: {failed}" if failed else ""))
    if not failed and not options.keep:
        shutil.rmtree(root)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
