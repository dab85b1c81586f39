"""Cards of the table, and what a measured one says of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monet_torch import __main__ as command_line
from monet_torch import calibration, estimate, profile
from monet_torch.errors import MonetError
from monet_torch.step import capture_step


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_there_are_many_cards_and_each_says_where_its_numbers_are_from() -> None:
    assert len(estimate.CARDS) >= 12
    assert len({c.name for c in estimate.CARDS}) == len(estimate.CARDS)
    assert all(c.source and c.half >= c.fp32 > 0 and c.bandwidth > 0 and c.gib > 0 for c in estimate.CARDS)


@pytest.mark.parametrize(
    ("driver", "gib", "name"),
    [
        ("NVIDIA H100 80GB HBM3", 79, "H100"), ("NVIDIA A100-SXM4-40GB", 39, "A100"),
        ("NVIDIA A100-SXM4-80GB", 79, "A100-80GB"), ("NVIDIA A10", 22, "A10"), ("NVIDIA L40S", 44, "L40S"),
        ("Tesla T4", 15, "T4"), ("NVIDIA GeForce RTX 3090", 24, "RTX3090"), ("NVIDIA RTX A6000", 48, "RTXA6000"),
        ("Tesla V100-SXM2-16GB", 16, "V100"), ("NVIDIA H200", 140, "H200"), ("NVIDIA L4", 22, "L4"),
    ],
)  # fmt: skip
def test_a_card_is_known_by_what_its_driver_calls_it(driver: str, gib: int, name: str) -> None:
    assert calibration.card_of(driver, gib << 30).name == name


def test_a_card_that_is_in_no_table_can_not_be_compared() -> None:
    with pytest.raises(MonetError, match=r"the table of cards has no Radeon VII, so.*\[M404\]"):
        calibration.card_of("Radeon VII", 16 << 30)


@pytest.mark.parametrize(
    ("driver", "gib"),
    [
        ("NVIDIA L40", 44), ("NVIDIA RTX A1000 Laptop GPU", 6), ("NVIDIA T400 4GB", 4), ("NVIDIA A10G", 22),
        ("NVIDIA GH200 480GB", 95), ("NVIDIA GeForce RTX 3090 Ti", 24), ("NVIDIA H100 PCIe", 79),
        ("NVIDIA GeForce RTX 3080", 12),
    ],
)  # fmt: skip
def test_another_card_is_not_taken_for_one_of_the_table(driver: str, gib: int) -> None:
    with pytest.raises(MonetError, match="the table of cards has no"):
        calibration.card_of(driver, gib << 30)


def test_estimates_are_scaled_by_what_was_measured_and_say_so(cache: Path) -> None:
    captured, loss = capture_step(nn.Linear(4096, 4096), (torch.randn(4096, 4096),), {}, (), None, None)

    def time_of(card: estimate.Card) -> int:
        rows = profile.profile(captured, loss, profile.Cache(None, []), None, estimate.measure_for(card))
        return rows[0][0].forward.time

    plain = estimate.find("A100")
    assert calibration.calibrated(plain) == plain
    (cache / "monet").mkdir()
    row = {"device": "NVIDIA H100", "card": "H100", "compute": 0.4, "memory": 0.9, "launch_ns": 4000}
    calibration.file().write_text(json.dumps(row))
    scaled = calibration.calibrated(plain)
    assert time_of(scaled) - 4000 == pytest.approx(2 * (time_of(plain) - 4000), rel=1e-3)
    assert estimate.describe(scaled) == {**estimate.describe(plain), "calibrated_on": "NVIDIA H100"}
    calibration.file().write_text("{")
    assert calibration.calibrated(plain) == plain


def test_shares_are_what_is_reached_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_time", lambda timed: (1_000_000, 0.0))
    card = replace(estimate.find("A100"), fp32=1.0, half=2.0, bandwidth=10.0)
    found: dict[str, Any] = calibration.shares(card, torch.device("cpu"), 128)
    flops = 2 * 128**3 / 1e-3 / 1e12
    assert (found["of_fp32"], found["of_half"]) == (round(flops, 3), round(flops / 2, 3))
    assert found["memory"] == round(2 * 4 * 4 * 128**2 / 1e-3 / 10e9, 3)
    assert found["launch_ns"] == 1_000_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a card")
def test_without_a_card_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["calibrate"]) == 2
    error = capsys.readouterr().err
    assert "this PyTorch sees no CUDA device" in error
    assert error.endswith(" [M123]\n")
    assert command_line.main(["calibrate", "--device", "A100"]) == 4
    assert "no CUDA card that is here, so it can't be measured [M403]\n" in capsys.readouterr().err
