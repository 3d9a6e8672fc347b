#!/usr/bin/env python3
"""What script/bench promises to who reads its results, and to who writes a section."""
import contextlib
import io
import json
import os
import sys
import tempfile
import textwrap
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))
import main  # noqa: E402
import rows  # noqa: E402
from rows import Row  # noqa: E402

GOOD = """\
    '''Something good.'''
    from rows import Row
    def run(context):
        context.skip("good/peer", "it is not installed")
        return [Row.of("good/one", "GB/s", [3, 1, 2], "copy", [8, 4, 6]), Row.of("good/two", "s", [5])]
    """
BAD = """\
    '''Something that breaks.'''
    def run(context):
        raise RuntimeError("the wire is cut")
    """
ABSENT = """\
    '''Something that is not here.'''
    from context import Skipped
    def run(context):
        raise Skipped("no such machine")
    """


class Rows(unittest.TestCase):
    def test_a_row_has_the_medians_and_their_ratio(self):
        row = Row.of("x/y", "GB/s", [3, 1, 2, 100], "copy", [10, 1, 5])
        self.assertEqual((row.value, row.reference_value, row.ratio), (2.5, 5, 0.5))
        self.assertEqual(row.samples, (3, 1, 2, 100))

    def test_a_row_without_a_reference_has_no_ratio(self):
        row = Row.of("x/y", "s", [2, 4])
        self.assertEqual((row.value, row.reference, row.reference_value, row.ratio), (3, "", None, None))

    def test_sides_are_measured_in_turn(self):
        order = []

        def side(name):
            return lambda: order.append(name) or len(order)
        self.assertEqual(rows.in_turn({"a": side("a"), "b": side("b")}, 3), {"a": [1, 3, 5], "b": [2, 4, 6]})
        self.assertEqual(order, ["a", "b"] * 3)

    def test_the_table_shows_value_noise_reference_and_ratio(self):
        text = rows.table([Row.of("x/y", "GB/s", [1.5, 2, 2.5], "copy", [4, 4, 4])], [("x/z", "no disk")])
        self.assertIn("| x/y | 2.00 | GB/s | 1.50..2.50 | copy | 4.00 | 0.50 |", text)
        self.assertIn("not measured: x/z: no disk", text)


class Sections(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.sections, self.output = os.path.join(folder.name, "sections"), os.path.join(folder.name, "out")
        os.makedirs(self.sections)

    def bench(self, *arguments, **sections):
        """Returns (exit code, stdout, stderr) of a run over `sections`, texts by name."""
        for name, text in sections.items():
            with open(os.path.join(self.sections, name + ".py"), "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(text))
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = main.main(["--folder", self.sections, "--output", self.output, "--programs", "none", *arguments])
        return code, out.getvalue(), err.getvalue()

    def results(self, section):
        with open(os.path.join(self.output, section + ".json"), encoding="utf-8") as file:
            return json.load(file)

    def test_the_json_is_an_array_of_rows_with_exactly_these_fields(self):
        code, out, _ = self.bench(good=GOOD)
        self.assertEqual(code, 0)
        self.assertEqual(self.results("good"), [
            {"name": "good/one", "value": 2, "unit": "GB/s", "reference": "copy", "reference_value": 6,
             "ratio": 2 / 6, "samples": [3, 1, 2]},
            {"name": "good/two", "value": 5, "unit": "s", "reference": "", "reference_value": None, "ratio": None,
             "samples": [5]}])
        with open(os.path.join(self.output, "good.md"), encoding="utf-8") as file:
            self.assertIn(file.read(), out)
        self.assertIn("not measured: good/peer: it is not installed", out)

    def test_a_section_that_fails_is_named_and_the_others_still_run(self):
        code, _, err = self.bench(bad=BAD, good=GOOD)
        self.assertEqual(code, 1)
        self.assertIn("failed: bad", err)
        self.assertIn("the wire is cut", err)
        self.assertEqual(len(self.results("good")), 2)

    def test_a_section_that_fails_leaves_no_results_of_an_earlier_run(self):
        self.bench(section=GOOD)
        self.bench(section=BAD)
        self.assertEqual(os.listdir(self.output), [])

    def test_a_section_that_is_skipped_says_why_and_is_no_failure(self):
        code, out, _ = self.bench(absent=ABSENT)
        self.assertEqual(code, 0)
        self.assertEqual(self.results("absent"), [])
        self.assertIn("not measured: absent: no such machine", out)

    def test_sections_are_chosen_by_name(self):
        self.assertEqual(self.bench("good", bad=BAD, good=GOOD)[0], 0)
        code, _, err = self.bench("god", good=GOOD)
        self.assertEqual(code, 2)
        self.assertIn("no section `god`; there are: bad, good", err)

    def test_the_list_names_every_section_and_runs_none(self):
        code, out, _ = self.bench("--list", bad=BAD, good=GOOD)
        self.assertEqual(code, 0)
        self.assertRegex(out, r"bad +Something that breaks\.\ngood +Something good\.\n")

    def test_our_own_sections_can_be_listed(self):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(main.main(["--list"]), 0)


if __name__ == "__main__":
    unittest.main()
