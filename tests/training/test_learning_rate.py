from __future__ import annotations

from math import cos, pi

import keras
import numpy as np
import pytest

from siamese.training.learning_rate import WARM_UP, WarmUpThenCosine


def value_of(schedule, step):
    return float(keras.ops.convert_to_numpy(schedule(step)))


def naive_rate(peak, steps, warm_up, step, budget_used=0.0):
    done = min(1.0, max((step + 1) / (steps + 1), budget_used))
    warm_up = max(warm_up, 1 / (steps + 1))
    if done < warm_up:
        return peak * done / warm_up
    return peak * (1 + cos(pi * (done - warm_up) / (1 - warm_up))) / 2


@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_the_rate_goes_up_and_down_a_cosine(steps, warm_up):
    schedule = WarmUpThenCosine(3e-4, steps, warm_up)
    got = [value_of(schedule, step) for step in range(steps)]
    expected = [naive_rate(3e-4, steps, warm_up, step) for step in range(steps)]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-9)
    assert min(got) > 0, "a step that learns nothing"
    if warm_up == 0:
        assert got[0] == pytest.approx(3e-4)
    if steps == 40:
        assert max(got) == pytest.approx(3e-4, rel=0.01)
        assert (np.argmax(got) + 1) / 41 == pytest.approx(max(warm_up, 1 / 41), abs=1 / 41)
    assert value_of(schedule, steps) == pytest.approx(0, abs=1e-9)


def test_a_budget_that_is_used_up_faster_takes_over():
    schedule = WarmUpThenCosine(1.0, 99)
    for used in (0.0, 0.05, 0.3, 0.8, 1.0, 1.7):
        schedule.budget_used.assign(used)
        for step in (0, 4, 25, 60, 98):
            expected = naive_rate(1.0, 99, WARM_UP, step, used)
            assert value_of(schedule, step) == pytest.approx(expected, abs=1e-5)
    assert value_of(schedule, 0) == pytest.approx(0, abs=1e-6)


def test_serialisation_keeps_the_settings():
    schedule = WarmUpThenCosine(3e-4, 7, 0.3)
    again = WarmUpThenCosine.from_config(schedule.get_config())
    assert again.get_config() == schedule.get_config()
