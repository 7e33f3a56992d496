"""Data sheets: the right chip for a device's name, and no roofline for one that is not known well enough."""

import pytest

from ecamp_fast.chips import CALCULATED, CHIPS, SHARED_MEMORY, find_chip


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA B200", "B200"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA A100-PCIE-40GB", "A100-PCIE-40GB"),
    ],
)
def test_a_device_is_found_by_the_longest_name(device: str, name: str) -> None:
    found = find_chip(device)
    assert found and found.name == name


def test_another_device_is_none() -> None:
    assert find_chip("AMD EPYC") is None


def test_numbers_of_the_data_sheets() -> None:
    assert {chip.name: (chip.bandwidth, chip.bf16) for chip in CHIPS} == {
        "B200": (8.0e12, 2.25e15),
        "H200": (4.8e12, 9.89e14),
        "H100 PCIe": (2.0e12, 7.56e14),
        "H100": (3.35e12, 9.89e14),
        "A100-SXM4-40GB": (1.555e12, 3.12e14),
        "A100-PCIE-40GB": (1.555e12, 3.12e14),
        "A100": (2.039e12, 3.12e14),
    }
    assert list(CALCULATED) == ["A100", "H100", "H200"]
    assert CALCULATED["A100"].issue_rate == 108 * 4 * 1.41e9 and CALCULATED["H100"].issue_rate == 132 * 4 * 1.755e9
    assert {chip.architecture for chip in CHIPS} == set(SHARED_MEMORY)
