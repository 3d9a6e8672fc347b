"""What a benchmark found, one Row a figure: medians of several samples, beside what it is measured against.

`ratio` is value / reference_value, whichever of the two ought to be larger. Both sides of a ratio are measured in one
run and in turn (in_turn), since a shared machine changes its speed from minute to minute.
"""
import dataclasses
import json
import os
import statistics


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure; its fields are those of the JSON."""

    name: str  # SECTION/what/of what: "transport/tcp/push"
    value: float  # the samples' median
    unit: str  # "GB/s", "images/s", "s", "MiB"
    reference: str = ""  # what it is measured against: "bare TCP", or nothing
    reference_value: float | None = None  # the median of that, in the same unit
    ratio: float | None = None  # value / reference_value
    samples: tuple = ()  # every value measured, in order: how noisy it was

    @classmethod
    def of(cls, name, unit, samples, reference="", reference_samples=()):
        """The row of `samples`, against `reference_samples` where there are any."""
        value = statistics.median(samples)
        if not reference_samples:
            return cls(name, value, unit, reference, samples=tuple(samples))
        against = statistics.median(reference_samples)
        return cls(name, value, unit, reference, against, value / against, tuple(samples))


def in_turn(sides, rounds):
    """Calls every function of the dict `sides` in each of `rounds` rounds, A B A B. Returns a list of values for each."""
    values = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            values[name].append(measure())
    return values


def table(rows, skipped=()):
    """A table in Markdown; below it what was not measured, of (name, reason) pairs."""
    lines = ["| name | value | unit | min..max | floor or reference | its value | ratio |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        noise = f"{_number(min(row.samples))}..{_number(max(row.samples))}" if row.samples else ""
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.name} | {_number(row.value)} | {row.unit} | {noise} | {row.reference} | "
                     f"{_number(row.reference_value)} | {ratio} |")
    lines += [""] * bool(skipped) + [f"- not measured: {name}: {reason}" for name, reason in skipped]
    return "\n".join(lines) + "\n"


def write(folder, section, rows, skipped=()):
    """Writes SECTION.json (an array of rows) and SECTION.md into `folder`, which is made."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, section + ".json"), "w", encoding="utf-8") as file:
        json.dump([dataclasses.asdict(row) for row in rows], file, indent=2)
        file.write("\n")
    with open(os.path.join(folder, section + ".md"), "w", encoding="utf-8") as file:
        file.write(table(rows, skipped))


def _number(value):
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 20 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f}"
