import pandas as pd
import pytest

from toolkit.analysis.sensitivity import sensitivity

# Two items, three orders; at temperature 1 one answer moves. Worked by hand below.
ROWS = [
    # temperature, row, order, text, score
    (0, 0, 1, "a", 1), (0, 0, 2, "a", 1), (0, 0, 3, "a", 1),
    (0, 1, 1, "b", 0), (0, 1, 2, "b", 0), (0, 1, 3, "b", 0),
    (1, 0, 1, "a", 1), (1, 0, 2, "a", 1), (1, 0, 3, "b", 0),
    (1, 1, 1, "b", 0), (1, 1, 2, "c", 1), (1, 1, 3, "b", 0),
    (1, 1, None, "z", 0),
]  # fmt: skip
TABLE = pd.DataFrame(ROWS, columns=["temperature", "row", "order_seed", "text", "score"])


def test_spread_over_orders_as_worked_by_hand():
    found = sensitivity(TABLE, "order_seed", ["temperature"], ["temperature", "row"])
    assert found.loc[0].tolist() == pytest.approx([3, 2, 0, 0.5, 0, 0.5, 0.5, 0])
    # Order means are 0.5, 1, 0: mean 0.5, sd 0.5 with n − 1.
    assert found.loc[1].tolist() == pytest.approx([3, 2, 1, 0.5, 0.5, 0, 1, 1])
    assert list(found) == ["values", "items", "changed", "mean", "sd", "lowest", "highest", "spread"]


def test_without_scores_and_settings_the_answers_alone_are_compared():
    found = sensitivity(TABLE.drop(columns="score").query("temperature == 1"), "order_seed", [], ["row"])
    assert found.loc["all"].to_dict() == {"values": 3, "items": 2, "changed": 1}
