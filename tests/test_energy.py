import pytest

from toolkit.pricing.energy import Counter, Meter, _rapl, meter


def counter(values, turn=0.0):
    read = iter(values)
    return Counter(lambda: next(read), turn)


@pytest.mark.parametrize(
    ("values", "turn", "joules"),
    [
        ([100, 100, 130, 131.5], 0, [0, 30, 31.5]),
        ([90, 10, 40], 100, [20, 50]),  # it began anew at 100
    ],
)
def test_joules_are_counted_from_the_making_of_the_meter(values, turn, joules):
    made = Meter([counter(values, turn)])
    assert [made.read() for _ in joules] == joules


def test_devices_are_summed():
    made = Meter([counter([0, 5]), counter([7, 9])])
    assert made.read() == 7


def zone(folder, name, drawn, turn=262_143_328_850):
    (folder / name).mkdir()
    (folder / name / "energy_uj").write_text(f"{drawn}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{turn}\n")
    return folder / name / "energy_uj"


def test_packages_count_once_in_the_form_that_linux_shows_them(tmp_path):
    first, second = zone(tmp_path, "intel-rapl:0", 1_000_000), zone(tmp_path, "intel-rapl:1", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", 900_000)  # the cores within package 0
    (tmp_path / "intel-rapl").mkdir()
    made = Meter(_rapl(tmp_path))
    first.write_text("3500000\n")
    second.write_text("5250000\n")
    assert made.read() == pytest.approx(2.75)
    first.write_text("0\n")
    assert made.read() == pytest.approx(2.75 + 262_143.328850 - 3.5)
    first.unlink()
    with pytest.raises(OSError, match="No such file"):
        made.read()


def test_a_device_that_does_not_tell_has_no_meter(monkeypatch, tmp_path):
    assert _rapl(tmp_path) == []
    monkeypatch.setattr("toolkit.pricing.energy._RAPL", tmp_path)
    assert meter({"kind": "cpu", "count": 1}) is None
    zone(tmp_path, "intel-rapl:0", "what only root may read")
    assert meter({"kind": "cpu", "count": 1}) is None
    assert meter({"kind": "cuda", "count": 1}) is None  # no driver of a GPU, or no NVML
