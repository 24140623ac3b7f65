from __future__ import annotations

import pytest

from aroma.errors import UsageError
from aroma.model.aroma.training.options import GrpoOptions, RewardOptions
from aroma.model.aroma.training.rewards import log_score, named_classes, reward_parts, total
from aroma.model.traces.answers import completion

GOOD = completion("It blocks the path.", 1)
OPTIONS = RewardOptions()


def earned(text: str, label: int = 1, options: RewardOptions = OPTIONS, probability: float | None = None) -> float:
    return total(reward_parts(text, label, options, probability), options)


def test_the_right_class_in_the_right_form_earns_every_part() -> None:
    assert reward_parts(GOOD, 1, OPTIONS) == {"right_class": 1.0, "form": 1.0, "one_class": 1.0}
    assert earned(GOOD) == pytest.approx(1.2)
    assert earned(GOOD, 2) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "upregulated",
        "<think>a</think><answer></answer>",
        "<think>a</think><answer>  </answer>",
        "<think>a</think>",
        "<think>a</think><answer>downregulated</answer><answer>downregulated</answer>",
        "<think>a</think><answer>downregulated</answer><answer>upregulated</answer>",
    ],
)
def test_an_empty_missing_or_doubled_answer_earns_nothing(text: str) -> None:
    assert set(reward_parts(text, 1, OPTIONS).values()) == {0.0}
    assert set(reward_parts(text, 1, RewardOptions(log_score=1), 0.9).values()) == {0.0}


def test_an_answer_that_names_two_classes_is_no_answer_and_one_with_words_around_is_not_right() -> None:
    both = "<think>a</think><answer>upregulated or downregulated</answer>"
    assert reward_parts(both, 1, OPTIONS) == {"right_class": 0.0, "form": 0.0, "one_class": 0.0}
    wordy = "<think>a</think><answer>it is downregulated</answer>"
    assert reward_parts(wordy, 1, OPTIONS) == {"right_class": 0.0, "form": 0.0, "one_class": 1.0}
    assert named_classes("not  Significantly changed") == (0,)
    assert named_classes("undownregulated") == ()


def test_text_around_the_blocks_costs_the_form_and_not_the_class() -> None:
    assert reward_parts(f"Well. {GOOD}", 1, OPTIONS) == {"right_class": 1.0, "form": 0.0, "one_class": 1.0}
    assert earned("<answer>downregulated</answer>") == pytest.approx(1.1)


def test_the_log_score_is_proper_and_between_nothing_and_one() -> None:
    assert log_score(1.0, 0.01) == 1.0
    assert log_score(0.01, 0.01) == log_score(0.001, 0.01) == log_score(0.0, 0.01) == 0.0
    options = RewardOptions(right_class=0, form=0, one_class=0, log_score=1)
    assert earned(GOOD, 1, options, 0.9) > earned(GOOD, 1, options, 0.5) > 0
    assert reward_parts(GOOD, 1, options, 0.5).keys() == {"log_score"}
    chance = 0.7  # what is honest to say earns most on average: the score is proper
    mean = {
        said: chance * log_score(said, 0.01) + (1 - chance) * log_score(1 - said, 0.01) for said in (0.5, 0.7, 0.95)
    }
    assert max(mean, key=lambda said: mean[said]) == 0.7


def test_weights_that_teach_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="every part"):
        GrpoOptions(rewards=RewardOptions(right_class=0, form=0, one_class=0)).check()
    with pytest.raises(UsageError, match="form=-1"):
        RewardOptions(form=-1).check()
    with pytest.raises(UsageError, match="samples=1"):
        GrpoOptions(samples=1).check()


def test_options_come_back_from_their_facts() -> None:
    options = GrpoOptions(samples=4, rewards=RewardOptions(log_score=0.5))
    assert GrpoOptions.from_facts(options.as_facts()) == options
    with pytest.raises(UsageError, match="no option 'sample'"):
        GrpoOptions.from_facts({"sample": 3})
