from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets.core.ranking.model import NotEnoughExamples, RankerParams, train
from recsys_assets.core.ranking.tuning import VARIED, Tuning, tune
from recsys_assets_tests.core.ranking import synthetic

QUICK = RankerParams(iterations=15, depth=4, early_stopping=5)


def test_tuning_starts_with_the_base_keeps_the_best_and_repeats_itself():
    table = synthetic.examples(60, 15)
    lines: list[str] = []
    first, second = tune(table, 4, 3, QUICK, lines.append), tune(table, 4, 3, QUICK)
    assert first == second
    assert Tuning.from_json(first.to_json()) == first
    assert len(lines) == len(first.trials) == 4
    assert all(first.trials[0][name] == getattr(QUICK, name) for name in VARIED)
    best = max(trial["ndcg"] for trial in first.trials)
    assert train(table, first.best).validation_ndcg == best >= train(table, QUICK).validation_ndcg
    assert (first.best.iterations, first.best.seed) == (QUICK.iterations, QUICK.seed)
    assert tune(table, 4, 4, QUICK).trials[1:] != first.trials[1:]


def test_a_window_left_out_cannot_move_the_result():
    """The window on which the ranker is judged would change the search; without it the search is as if it never was."""
    past, judged = (synthetic.examples(40, 12, seed, date(2020, 1, 1 + 7 * seed)) for seed in range(2))
    contrary = judged.set_column(
        judged.column_names.index("label"), "label", pa.array(1 - judged["label"].to_numpy().astype(np.int64))
    )
    both = pa.concat_tables([past, contrary])
    alone = tune(past, 2, 0, QUICK)
    assert tune(both.filter(pc.less(both["dt"], date(2020, 1, 8))), 2, 0, QUICK) == alone
    assert tune(both, 2, 0, QUICK) != alone


def test_faults_are_told():
    with pytest.raises(NotEnoughExamples):
        tune(synthetic.examples(3, 5), 2)
    with pytest.raises(ValueError, match="trials is 0"):
        tune(synthetic.examples(30, 5), 0)
    with pytest.raises(ValueError, match="ranker_params: not the JSON of a tuning"):
        Tuning.from_json('{"best": {"los": 1}, "trials": []}')
