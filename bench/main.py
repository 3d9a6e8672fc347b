#!/usr/bin/env python3
"""Builds what the benchmarks need, runs them section by section, prints one table each and writes build/bench/SECTION.json
and .md. Figures mean something on an idle machine only.

    script/bench                 every section
    script/bench transport       one
    script/bench step --peers    beside PyTorch, where it is installed
"""
import argparse
import importlib.util
import os
import subprocess
import sys
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "tests", "system")]

import rows as rows_module  # noqa: E402
from context import Context, Skipped  # noqa: E402


def sections_in(folder):
    """The modules of `folder`, by name, in alphabetical order; bench/README.md says what they have."""
    modules = {}
    for file in sorted(os.listdir(folder)):
        name, extension = os.path.splitext(file)
        if extension != ".py" or name.startswith("_"):
            continue
        spec = importlib.util.spec_from_file_location(f"section_{name}", os.path.join(folder, file))
        modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[name])
    return modules


def build(modules):
    targets = sorted({target for module in modules for target in getattr(module, "TARGETS", ())})
    if targets:
        subprocess.run([os.path.join(ROOT, "script", "build"), *targets], check=True)


def run_section(name, module, context, output):
    """Runs and reports one section; False when it failed. A section that failed leaves no file of an earlier run."""
    for extension in (".json", ".md"):
        path = os.path.join(output, name + extension)
        if os.path.exists(path):
            os.remove(path)
    print(f"\n## {name}\n", flush=True)
    context.skipped.clear()
    try:
        rows = module.run(context)
    except Skipped as reason:
        rows = []
        context.skip(name, str(reason))
    except Exception:  # whatever it was: the other sections still run
        traceback.print_exc()
        print(f"section {name} FAILED", file=sys.stderr, flush=True)
        return False
    rows_module.write(output, name, rows, context.skipped)
    print(rows_module.table(rows, context.skipped), flush=True)
    return True


def parse(arguments):
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="default: all of them")
    parser.add_argument("--peers", action="store_true", help="measure other systems beside, where they are installed")
    parser.add_argument("--list", action="store_true", help="name the sections")
    parser.add_argument("--programs", help="use the programs of this folder and build none")
    parser.add_argument("--output", default=os.path.join(ROOT, "build", "bench"), help="folder of the results")
    parser.add_argument("--folder", default=os.path.join(ROOT, "bench", "sections"), help="folder of the sections")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    modules = sections_in(options.folder)
    if options.list:
        for name, module in modules.items():
            print(f"{name:12} {(module.__doc__ or '').strip().splitlines()[0]}")
        return 0
    unknown = [name for name in options.sections if name not in modules]
    if unknown:
        print(f"script/bench: no section `{unknown[0]}`; there are: {', '.join(modules)}", file=sys.stderr)
        return 2
    chosen = {name: module for name, module in modules.items() if name in options.sections or not options.sections}
    if options.programs is None:
        build(chosen.values())
    context = Context(programs=os.path.abspath(options.programs or os.path.join(ROOT, "build", "bin")),
                      data=os.path.join(options.output, "data"), peers=options.peers)
    failed = [name for name, module in chosen.items() if not run_section(name, module, context, options.output)]
    if failed:
        print(f"script/bench: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
